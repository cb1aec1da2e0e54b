"""Rates of the recent past: several counts that fade, over the fading time in which they were counted."""

from typing import Final

from cluster.autoscaling.ewma import kept
from router.estimator.learning.fading_mean import FadingMean

_STEP: Final = 1e-3
"""Share of the memory below which passed time does not fade the counts yet, so that most calls only compare times."""


class FadingRates:
    """Counts that fade together with the time in which they were counted. A count divided by `span_s` is a rate.

    Args:
        memory_s: seconds after which a count has faded to 1/e, about a third.
        size: number of counts.

    Attributes:
        counts: the counts; the caller adds to them, after `fade`.
    """

    __slots__ = ("_at_s", "_memory_s", "_span", "counts")

    def __init__(self, memory_s: float, size: int = 1) -> None:
        self._memory_s = memory_s
        self._at_s: float | None = None
        self._span = FadingMean()
        self.counts = [0.0] * size

    def fade(self, now_s: float) -> None:
        """Fade the counts up to `now_s`. An earlier time than before changes nothing."""
        if self._at_s is None:
            self._at_s = now_s
        passed_s = now_s - self._at_s
        if passed_s > self._memory_s * _STEP:
            self._at_s = now_s
            keep = kept(passed_s, self._memory_s)
            self._span.observe(0.0, self._memory_s * (1.0 - keep), keep)
            self.counts = [count * keep for count in self.counts]

    def span_s(self, at_least_s: float) -> float:
        """Return the seconds that the counts cover: at most the memory, at least `at_least_s`."""
        return max(self._span.weight, at_least_s)

    def per_s(self, now_s: float, at_least_s: float) -> float:
        """Return the first count's rate per second as of `now_s`, without fading the counts."""
        passed_s = now_s - self._at_s if self._at_s is not None else 0.0
        if passed_s <= self._memory_s * _STEP:
            return self.counts[0] / self.span_s(at_least_s)
        keep = kept(passed_s, self._memory_s)
        return self.counts[0] * keep / max(self._span.weight * keep + self._memory_s * (1.0 - keep), at_least_s)
