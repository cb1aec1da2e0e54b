"""Tells whether a gateway can serve requests, and if not, what is missing."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from router.dispatch.fleet import Fleet
from router.scheduling.needed_telemetry import why_unmet


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a gateway can serve, as /ready says it.

    Attributes:
        is_ready: requests can be served.
        reason: why, or why not.
        unmet: one sentence for each model whose policy needs telemetry that none of its replicas provides. Waiting does
            not help: the policy or the replicas must be changed.
    """

    is_ready: bool
    reason: str
    unmet: tuple[str, ...] = ()


def readiness_of(models: Mapping[str, Fleet], required: AbstractSet[str], *, has_been_ready: bool = False) -> Readiness:
    """Return whether every model that must have a replica has one, and whether its policy gets the telemetry it needs.

    Args:
        models: the models' replicas and policies, by name.
        required: names of the models that must have a replica at all times.
        has_been_ready: the gateway was ready before. Then a policy that lacks telemetry is listed in `unmet` but the
            gateway stays ready, so that the other models are still served.
    """
    unmet = []
    for name, fleet in sorted(models.items()):
        why = why_unmet(fleet.policy, [replica.endpoint for _, replica in sorted(fleet.replicas.items())])
        if why:
            unmet.append(f"model {name}: {why}")
    if unmet and not has_been_ready:
        return Readiness(is_ready=False, reason="; ".join(unmet), unmet=tuple(unmet))
    missing = sorted(name for name, fleet in models.items() if name in required and not fleet.staying())
    if missing:
        return Readiness(is_ready=False, reason=f"no replica yet of: {', '.join(missing)}", unmet=tuple(unmet))
    return Readiness(is_ready=True, reason="every model has a replica", unmet=tuple(unmet))
