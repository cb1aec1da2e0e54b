"""Whether a gateway can serve, and if not what is missing."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from router.dispatch.fleet import Fleet
from router.scheduling.needed_telemetry import why_unmet


@dataclass(frozen=True, slots=True)
class Readiness:
    """What /ready says.

    Attributes:
        is_ready: requests can be served.
        reason: why, or why not.
        unmet: of each model whose policy needs telemetry that no replica of it provides, which; waiting won't help.
    """

    is_ready: bool
    reason: str
    unmet: tuple[str, ...] = ()


def readiness_of(models: Mapping[str, Fleet], required: AbstractSet[str], *, has_been_ready: bool = False) -> Readiness:
    """Return whether every model that is to have a replica has one, and one that its policy can work with.

    Args:
        models: by name.
        required: names of those that are to have a replica at all times.
        has_been_ready: the gateway serves already: a policy that is now unmet is told, but takes no model from it, the
            other models least of all.
    """
    unmet = []
    for name, fleet in sorted(models.items()):
        why = why_unmet(fleet.policy, [replica.endpoint for _, replica in sorted(fleet.replicas.items())])
        if why:
            unmet.append(f"model {name}: {why}")
    if unmet and not has_been_ready:
        return Readiness(is_ready=False, reason="; ".join(unmet), unmet=tuple(unmet))
    missing = sorted(name for name, fleet in models.items() if name in required and not fleet.replicas)
    if missing:
        return Readiness(is_ready=False, reason=f"no replica yet of: {', '.join(missing)}", unmet=tuple(unmet))
    return Readiness(is_ready=True, reason="every model has a replica", unmet=tuple(unmet))
