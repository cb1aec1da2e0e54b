"""A model's and the tenants' limits, as the cluster file says them."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from cluster.spec.gateway_spec import TenantSpec
from cluster.spec.model_parts.slo_spec import SloSpec
from cluster.spec.model_spec import ModelSpec
from router.flow_control.limits import AdmissionLimits, TenantLimits
from router.flow_control.priority import priority_named
from router.request import NO_TARGETS, LatencyTargets

_LIMITS: Final = (
    "requests_per_minute",
    "tokens_per_minute",
    "requests_burst",
    "tokens_burst",
    "requests_at_once",
)


def model_limits(model: ModelSpec, tenants: Mapping[str, TenantLimits]) -> AdmissionLimits:
    """Return a model's bounds on waiting.

    Args:
        model: the model.
        tenants: each tenant's limits, by name.
    """
    return AdmissionLimits(
        max_wait_s=model.max_wait_s,
        cold_start_timeout_s=model.cold_start_timeout_s,
        tenants=tenants,
        targets=_targets_of(model.slo),
        slo_share=model.slo.share,
    )


def tenant_limits(tenants: Sequence[TenantSpec]) -> dict[str, TenantLimits]:
    """Return each tenant's share and limits, by name."""
    return {tenant.name: _limits_of(tenant) for tenant in tenants}


def _limits_of(tenant: TenantSpec) -> TenantLimits:
    priority = priority_named(tenant.priority)
    rates = {name: value for name in _LIMITS if (value := getattr(tenant, name)) is not None}
    most_urgent = priority_named(tenant.max_priority) if tenant.max_priority is not None else priority
    if tenant.slo is not None:
        rates["slo_share"] = tenant.slo.share
    targets = NO_TARGETS if tenant.slo is None else _targets_of(tenant.slo)
    return TenantLimits(weight=tenant.weight, priority=priority, max_priority=most_urgent, targets=targets, **rates)


def _targets_of(slo: SloSpec) -> LatencyTargets:
    return LatencyTargets(slo.ttft_s or inf, slo.tpot_s or inf) if slo.is_set else NO_TARGETS
