"""Charges of a tenant's running requests, by estimate: how much of them will be given back, and when."""

from typing import Final

from router.estimator.learning.fading_mean import FadingMean

_MEMORY: Final = 32.0
"""Ended requests that count, in effect: each one takes a 32nd of the weight of those before."""
_KEEP: Final = 1.0 - 1.0 / _MEMORY
_PRIOR_SHARE: Final = 0.25
"""Real work of a request as a share of its estimate, until one has ended: a first estimate assumes a long answer."""
_PRIOR_DURATION_S: Final = 1.0
"""Seconds that a request is assumed to run, until one has ended."""
_SHORTEST_S: Final = 0.05
"""Seconds within which requests end that came at once."""


class UnsettledCharges:
    """One tenant's charges that are still estimates, and what became of earlier ones."""

    __slots__ = ("_arrived_s", "_count", "_duration_s", "_share", "_work")

    def __init__(self) -> None:
        self._work = 0.0
        self._count = 0
        self._arrived_s = 0.0  # the sum over all of them
        self._share = FadingMean(_PRIOR_SHARE, 1.0)
        self._duration_s = FadingMean(_PRIOR_DURATION_S, 1.0)

    def charged(self, work: float, now_s: float) -> None:
        """Count a request in by its estimated work."""
        self._work += work
        self._count += 1
        self._arrived_s += now_s

    def dropped(self, work: float, arrived_s: float) -> None:
        """Count a request out that was given back whole: it was never sent to a replica."""
        if self._count:
            self._work -= work
            self._count -= 1
            self._arrived_s -= arrived_s
        if not self._count:
            self._work = self._arrived_s = 0.0  # without the sums' rounding errors

    def settled(self, work: float, real_work: float, arrived_s: float, now_s: float) -> None:
        """Count a request out, and learn from what it really cost and how long it ran."""
        self.dropped(work, arrived_s)
        if work > 0:
            self._share.observe(real_work / work, 1.0, _KEEP)
        self._duration_s.observe(now_s - arrived_s, 1.0, _KEEP)

    def wait_s(self, missing: float, per_s: float, now_s: float) -> float:
        """Return the seconds until `missing` tokens are there, by what fills in and what is given back.

        Requests that ended gave back a share of their estimates; those that run are expected to do the same. They end,
        one after the other, within a time whose middle is their mean age short of the usual duration, and which is as
        wide as their arrivals are spread: twice their mean age.

        Args:
            missing: tokens by which the bucket is short now, above 0.
            per_s: tokens per second by which it fills.
            now_s: the time, monotonic seconds.
        """
        fills_s = missing / per_s
        given_back = self._work * (1.0 - self._share.mean)
        if given_back <= 0 or not self._count:
            return fills_s - given_back / per_s  # their answers are longer than estimated: there is more to fill
        age_s = now_s - self._arrived_s / self._count
        first_s = max(0.0, self._duration_s.mean - 2.0 * age_s)
        last_s = max(self._duration_s.mean, first_s + _SHORTEST_S)
        if fills_s <= first_s:
            return fills_s
        given_per_s = given_back / (last_s - first_s)
        wait_s = (missing + given_per_s * first_s) / (per_s + given_per_s)
        return wait_s if wait_s <= last_s else (missing - given_back) / per_s
