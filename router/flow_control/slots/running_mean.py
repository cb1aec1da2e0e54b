"""How many requests a replica ran on average over about half a stream's life, and what it may run beyond its bound.

A stream is held to its mean time per token, so what counts is the mean batch of its life. After few have run, more may
run for a while: each stream still has no more beside it on average than the bound. It is so for any `CREDIT` c: with a
mean of M below the bound B, B + c (B - M) may run, the mean then nears B within 1 / (1 + c) of its memory, and over the
half of a stream's life that is left the excess comes to c / (1 + c) of what the first half was below the bound.
"""

from math import exp
from typing import Final, final

CREDIT: Final = 3.0
"""Requests beyond the bound for each by which the mean is below it: three quarters of what was saved is used."""
LIFE_SHARE: Final = 0.5
"""Memory of the mean, as a share of a stream's life."""


@final
class RunningMean:
    """The mean number of requests that run on one replica.

    Attributes:
        mean: that number, of the time until the last request came or left.
    """

    __slots__ = ("_at_s", "_running", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self._running = 0.0
        self._at_s = 0.0

    def changed(self, running: float, life_s: float, now_s: float) -> None:
        """Note how many requests run from now on.

        Args:
            running: that number.
            life_s: seconds that a stream takes there.
            now_s: the time, monotonic seconds.
        """
        left = exp(-max(0.0, now_s - self._at_s) / (LIFE_SHARE * life_s)) if life_s > 0.0 else 0.0
        self.mean = left * self.mean + (1.0 - left) * self._running
        self._running, self._at_s = running, now_s

    def beyond(self, bound: float) -> float:
        """Return how many requests may run now, so that on average no more than `bound` do."""
        return bound + CREDIT * max(0.0, bound - self.mean)
