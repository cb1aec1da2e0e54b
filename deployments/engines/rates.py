"""Tokens a second over the last busy seconds."""

from math import exp


class BusyRate:
    """A rate that forgets: only busy time counts, and what is older than a few `memory_s` of it fades away.

    An exponentially weighted ratio, sum of tokens over sum of seconds: long observations weigh more than short ones,
    and an idle hour changes nothing.
    """

    def __init__(self, memory_s: float = 10.0) -> None:
        self._memory_s = memory_s
        self._tokens = 0.0
        self._busy_s = 0.0

    def observe(self, tokens: float, busy_s: float) -> None:
        """Take in that `tokens` were worked off in `busy_s` seconds of work on them."""
        keep = exp(-busy_s / self._memory_s)
        self._tokens = self._tokens * keep + tokens
        self._busy_s = self._busy_s * keep + busy_s

    @property
    def per_s(self) -> float:
        """Tokens a second; 0 before the first observation."""
        return self._tokens / self._busy_s if self._busy_s > 0 else 0.0
