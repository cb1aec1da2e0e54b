"""Turns a load into the number of replicas it needs, with spare ones for random peaks."""

from math import ceil, sqrt

MAX_UTILISATION = 0.95
"""Most of its replicas that a load may keep busy, as a share: rate and demand are known to a few percent at best."""
_ROUNDING = 1e-9


def replicas_for(load: float, headroom: float) -> int:
    """Return the number of replicas for work that would keep `load` replicas busy all the time.

    The square-root rule: `load + headroom * sqrt(load)`. In a larger fleet random peaks average out, so it can run at a
    higher load with equal waiting (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential servers",
    1981). The rule holds for one queue before many servers, which the gateways' late choice of a replica provides.

    Args:
        load: replicas that the work keeps busy.
        headroom: spare replicas as a multiple of the square root of `load`.
    """
    return ceil(max(load + headroom * sqrt(load), load / MAX_UTILISATION) - _ROUNDING)
