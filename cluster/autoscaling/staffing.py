"""How many replicas a load needs, with room for chance."""

from math import ceil, sqrt

MAX_UTILISATION = 0.95
"""However many replicas there are: rates and demand are known to a few percent at best."""
_ROUNDING = 1e-9


def replicas_for(load: float, headroom: float) -> int:
    """Return the replicas for work that would keep `load` of them busy all the time.

    The square-root rule: `load + headroom * sqrt(load)`. In a larger fleet chance averages out, and the hotter
    it can run at equal waiting (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential servers",
    1981). Late binding makes the replicas one such queue.
    """
    return ceil(max(load + headroom * sqrt(load), load / MAX_UTILISATION) - _ROUNDING)
