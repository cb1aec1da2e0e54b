"""Bounds on waiting: a model's, a tenant's, and those of the waiting room that all models share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Final

from router.flow_control.priority import Priority
from router.flow_control.tenant_limits.tenant_rates import TenantRates
from router.request import NO_TARGETS, LatencyTargets


@dataclass(frozen=True)
class TenantLimits(TenantRates):
    """One tenant's share, and its limits on requests and tokens.

    Attributes:
        weight: its share of a model's capacity, relative to the other tenants of the same class; above 0.
        priority: class of a request that asks for none.
        max_priority: most urgent class that its requests may ask for.
        targets: the latencies that its requests are to have, of whatever model; infinite ones are the model's.
        slo_share: share of its requests that is to have them; 0: the model's.
    """

    weight: float = 1.0
    priority: Priority = Priority.NORMAL
    max_priority: Priority = Priority.NORMAL
    targets: LatencyTargets = NO_TARGETS
    slo_share: float = 0.0


DEFAULT_TENANT: Final = TenantLimits()
"""Limits of a tenant that has none of its own."""


@dataclass(frozen=True)
class AdmissionLimits:
    """One model's bounds on waiting.

    Attributes:
        max_wait_s: longest wait of a request without a deadline of its own, in seconds.
        cold_start_timeout_s: longest wait of any request while the model has no replica, in seconds; 0: it is refused.
        ageing_s: seconds of waiting after which the oldest request of a less urgent class gives that class a turn.
        tenants: limits by tenant name; other tenants get `DEFAULT_TENANT`.
        late_binding: requests wait in the gateway until a replica has room; False: each goes to a replica at once and
            waits there.
        targets: the latencies that a request without targets of its own is to have.
        slo_share: share of the requests that is to have its latencies, below 1.
    """

    max_wait_s: float = 60.0
    cold_start_timeout_s: float = 600.0
    ageing_s: float = 10.0
    tenants: Mapping[str, TenantLimits] = field(default_factory=lambda: MappingProxyType({}))
    late_binding: bool = True
    targets: LatencyTargets = NO_TARGETS
    slo_share: float = 0.95

    def targets_of(self, tenant: str) -> LatencyTargets:
        """Return the latencies that a tenant's request without targets of its own is to have."""
        own, usual = self.tenant(tenant).targets, self.targets
        if own is NO_TARGETS:
            return usual
        return LatencyTargets(
            own.ttft_s if own.ttft_s < inf else usual.ttft_s, own.tpot_s if own.tpot_s < inf else usual.tpot_s
        )

    def share_of(self, tenant: str) -> float:
        """Return the share of a tenant's requests that is to have its latencies."""
        return self.tenant(tenant).slo_share or self.slo_share

    def priority_of(self, tenant: str, asked: Priority | None) -> Priority:
        """Return the class of a tenant's request that asks for the class `asked`; None: it asks for none."""
        limits = self.tenant(tenant)
        return limits.priority if asked is None else max(asked, limits.max_priority)

    def tenant(self, name: str) -> TenantLimits:
        """Return a tenant's limits."""
        return self.tenants.get(name, DEFAULT_TENANT)


class WaitingRoom:
    """Bounds and counts of what waits in one gateway process, over all models.

    Attributes:
        max_requests: most requests that may wait.
        max_bytes: most memory that waiting requests may hold, in bytes.
        requests: requests that wait now.
        size_bytes: memory that they hold, in bytes.
    """

    __slots__ = ("max_bytes", "max_requests", "requests", "size_bytes")

    def __init__(self, max_requests: int = 10_000, max_bytes: int = 1 << 30) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.size_bytes = 0

    def fits(self, size_bytes: int, freed_requests: int = 0, freed_bytes: int = 0) -> bool:
        """Tell whether one more request fits.

        Args:
            size_bytes: memory that it holds, in bytes.
            freed_requests: number of requests that would make way for it.
            freed_bytes: memory that these hold, in bytes.
        """
        return (
            self.requests - freed_requests < self.max_requests
            and self.size_bytes - freed_bytes + size_bytes <= self.max_bytes
        )

    def enter(self, size_bytes: int) -> None:
        """Count a request in."""
        self.requests += 1
        self.size_bytes += size_bytes

    def leave(self, size_bytes: int) -> None:
        """Count a request out."""
        self.requests -= 1
        self.size_bytes -= size_bytes
