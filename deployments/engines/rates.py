"""Tokens a second over the last busy seconds."""

from cluster.autoscaling.ewma import Ewma, kept


class BusyRate:
    """A rate that forgets. Only busy time counts: an idle hour changes nothing, and long observations weigh more.

    Args:
        memory_s: busy seconds after which an observation has faded to a third.
    """

    def __init__(self, memory_s: float = 10.0) -> None:
        self._memory_s = memory_s
        self._seen = Ewma()

    def observe(self, tokens: float, busy_s: float) -> None:
        """Take in that `tokens` were worked off in `busy_s` seconds of work on them."""
        self._seen = self._seen.observed(tokens, busy_s, kept(busy_s, self._memory_s))

    @property
    def per_s(self) -> float:
        """Tokens a second; 0 before the first observation."""
        return self._seen.mean
