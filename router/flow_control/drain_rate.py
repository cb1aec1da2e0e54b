"""The drain rate: work dispatched per second while requests wait, learned per replica."""

from typing import Final

from cluster.autoscaling.ewma import kept
from router.estimator.learning.fading_mean import FadingMean

EVIDENCE_S: Final = 1.0
"""Seconds with waiting requests below which the rate counts as not known."""


class DrainRate:
    """Work dispatched, divided by the replica-seconds in which requests waited; older figures fade.

    Time in which nothing waits, or without replicas, changes nothing. While a queue stands still, the rate falls. When
    a replica joins, the rate of all of them rises at once.

    Args:
        memory_s: seconds with waiting requests after which a figure counts 1/e, about a third.
    """

    def __init__(self, memory_s: float = 20.0) -> None:
        self._memory_s = memory_s
        self._seen = FadingMean()
        self._busy_s = 0.0
        self._replicas = 0
        self._since_s: float | None = None

    def began(self, now_s: float) -> None:
        """Note that the first request waits."""
        self._since_s = now_s

    def drained(self, work: float, now_s: float) -> None:
        """Count the work of a request that waited and was dispatched."""
        self._pass(now_s)
        self._seen.observe(work, 0.0, 1.0)

    def ended(self, now_s: float) -> None:
        """Note that nothing waits any more."""
        self._pass(now_s)
        self._since_s = None

    def set_replicas(self, replicas: int, now_s: float) -> None:
        """Set the number of replicas that take requests from now on."""
        self._pass(now_s)
        self._replicas = replicas

    def per_s(self, now_s: float) -> float:
        """Return the work per second of all replicas; 0: there are none, or it is not known yet."""
        self._pass(now_s)
        return self._seen.mean * self._replicas if self._busy_s >= EVIDENCE_S else 0.0

    def _pass(self, now_s: float) -> None:
        if self._since_s is None:
            return
        passed_s = now_s - self._since_s
        self._since_s = now_s
        if passed_s > 0 and self._replicas:
            keep = kept(passed_s, self._memory_s)
            self._busy_s = self._busy_s * keep + passed_s
            self._seen.observe(0.0, passed_s * self._replicas, keep)
