"""An engine's rate in tokens per second over its last busy seconds."""

from math import exp


class BusyRate:
    """A rate that fades: work older than a few `memory_s` of busy time hardly counts.

    It is an exponentially weighted ratio: sum of tokens over sum of busy seconds. So long observations weigh more than
    short ones, and idle time changes nothing.

    Args:
        memory_s: busy seconds after which an observation weighs 1/e.
    """

    def __init__(self, memory_s: float = 10.0) -> None:
        self._memory_s = memory_s
        self._tokens = 0.0
        self._busy_s = 0.0

    def observe(self, tokens: float, busy_s: float) -> None:
        """Add an observation: `tokens` took `busy_s` seconds of work."""
        keep = exp(-busy_s / self._memory_s)
        self._tokens = self._tokens * keep + tokens
        self._busy_s = self._busy_s * keep + busy_s

    @property
    def per_s(self) -> float:
        """The rate in tokens per second; 0 before the first observation."""
        return self._tokens / self._busy_s if self._busy_s > 0 else 0.0
