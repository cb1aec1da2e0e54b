"""How much prefill a group of replicas gets: what one more prompt there costs those that come after it."""

from math import sqrt
from typing import Final, final

from cluster.autoscaling.ewma import kept
from router.estimator.learning.fading_rates import FadingRates
from router.estimator.replica_estimator import ReplicaEstimator

ARRIVALS_MEMORY_S: Final = 60.0
"""Seconds after which an arrival counts 1/e, about a third, in the rate of arrivals."""
ARRIVALS_AT_LEAST_S: Final = 5.0
"""Shortest time in seconds over which that rate is taken, so that the first requests make no high rate."""
WORK_MEMORY_S: Final = 600.0
"""Seconds after which prefill given to a replica counts 1/e, about a third, in the price of evictions there."""
WORK_FADE_EVERY_S: Final = 1.0
"""Seconds after which the prefill given to replicas is faded again."""
MAX_UTILISATION: Final = 0.95
"""Highest share of the time for which replicas count as busy: scorers divide by the idle share, which must not be 0."""


@final
class WorkRate:
    """The prompts that come to a group of replicas, any of which may compute each of them.

    Args:
        is_shared: prompts come to whichever of them is free, so a long one delays those behind it only while all are
            busy. False: they come to a replica for what it has cached, and wait for it.

    Attributes:
        members: the group's replicas.
        work_s: seconds of prefill given to all of them, fading over `WORK_MEMORY_S`.
        idle: share of the time for which they are idle, 0 to 1, as of the last request sent.
        requests_per_s: requests per second that one of them gets on average, as of the last request sent.
        followers_per_s: requests that each second of work on one of them delays, per second of delay: the rate over the
            idle share, as a backlog lasts that much longer.
    """

    __slots__ = (
        "_arrivals",
        "_faded_s",
        "_is_shared",
        "followers_per_s",
        "idle",
        "members",
        "requests_per_s",
        "work_s",
    )

    def __init__(self, *, is_shared: bool = False) -> None:
        self._is_shared = is_shared
        self.members: list[ReplicaEstimator] = []
        self.work_s = 0.0
        self.idle = 1.0
        self.requests_per_s = 0.0
        self.followers_per_s = 0.0
        self._arrivals = FadingRates(ARRIVALS_MEMORY_S, 2)
        self._faded_s: float | None = None

    def count(self, replica: ReplicaEstimator, work_s: float, now_s: float) -> None:
        """Count the prefill of a request that is sent to one of the group.

        Args:
            replica: the member that computes it.
            work_s: seconds that it takes there.
            now_s: when it is sent, monotonic seconds.
        """
        arrivals = self._arrivals
        arrivals.fade(now_s)
        arrivals.counts[0] += 1.0
        arrivals.counts[1] += work_s
        # A request may still be given to a replica that is gone, when the last of its group is too.
        span_s = arrivals.span_s(ARRIVALS_AT_LEAST_S) * (len(self.members) or 1)
        self.requests_per_s = arrivals.counts[0] / span_s
        busy = arrivals.counts[1] / span_s
        self.idle = 1.0 - (busy if busy < MAX_UTILISATION else MAX_UTILISATION)  # noqa: FURB136 - for each request
        self.followers_per_s = self.requests_per_s / self.idle
        if self._is_shared:
            # Of k servers and the utilisation r, waits are r^(√(2(k + 1)) - 2) of those of one: Sakasegawa, "An
            # approximation formula Lq = a·r^b/(1 - r)", Annals of the Institute of Statistical Mathematics 29, 1977.
            self.followers_per_s *= (1.0 - self.idle) ** (sqrt(2.0 * (len(self.members) + 1)) - 2.0)
        since_s = self._faded_s
        if since_s is None or now_s - since_s > WORK_FADE_EVERY_S:
            self._faded_s = now_s
            keep = 1.0 if since_s is None else kept(now_s - since_s, WORK_MEMORY_S)
            for other in self.members:
                other.work_s *= keep
            self.work_s = sum(other.work_s for other in self.members)
        replica.work_s += work_s
        self.work_s += work_s
