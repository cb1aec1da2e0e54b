"""Tokens a second over the last busy seconds."""

from math import exp


class BusyRate:
    """A rate that forgets. Only busy time counts: an idle hour changes nothing, and long observations weigh more.

    The sums are kept here and not in an `Ewma`: engines observe each step.

    Args:
        memory_s: busy seconds after which an observation has faded to a third.
    """

    __slots__ = ("_busy_s", "_memory_s", "_tokens")

    def __init__(self, memory_s: float = 10.0) -> None:
        self._memory_s = memory_s
        self._tokens = self._busy_s = 0.0

    def observe(self, tokens: float, busy_s: float) -> None:
        """Take in that `tokens` were worked off in `busy_s` seconds of work on them."""
        kept = exp(-busy_s / self._memory_s)
        self._tokens = self._tokens * kept + tokens
        self._busy_s = self._busy_s * kept + busy_s

    @property
    def per_s(self) -> float:
        """Tokens a second; 0 before the first observation."""
        return self._tokens / self._busy_s if self._busy_s > 0 else 0.0
