"""A model's attainment: how many of its requests had the latencies that they were to have, and how fast the rest burn.

A service level objective (SLO) says which share of the requests is to be in time. The rest is the error budget. The
burn rate is the share of requests that were not in time over the share that may be: at 1 the budget lasts just as long
as it is meant to, at 14.4 a month's is gone in two days (Google, "The Site Reliability Workbook", 2018, chapter 5).
"""

from collections.abc import Iterable
from enum import StrEnum
from math import inf
from typing import Any, Final, NamedTuple, final

from router.flow_control.limits import AdmissionLimits
from router.outcome import Outcome
from router.request import NO_TARGETS, LatencyTargets

BUCKET_S: Final = 60.0
"""Seconds of requests that are counted together."""
LONGEST_S: Final = 6 * 3600.0
"""Longest window that is kept, seconds."""
WINDOWS_S: Final = {"5 min": 300.0, "1 h": 3600.0, "6 h": LONGEST_S}
"""The windows that people see, seconds by name; the shortest first."""
OURS: Final = frozenset({
    Outcome.DEADLINE, Outcome.QUEUE_FULL, Outcome.NO_CAPACITY, Outcome.NO_REPLICA, Outcome.REPLICA_FAILED,
    Outcome.REPLICA_TIMEOUT, Outcome.INTERNAL,
})  # fmt: skip
"""Ends that are the cluster's doing and count as not in time; the others are the client's, or say nothing."""


class Timeliness(StrEnum):
    """How a request's latencies were; also the metric's label."""

    MET = "met"
    """It had all of its latencies."""
    LATE = "late"
    """Its first token came too late. Its other tokens may have been slow, too."""
    SLOW = "slow"
    """Its first token came in time, and the others too slowly."""
    FAILED = "failed"
    """It got no answer, or only part of one, by the cluster's doing."""


class Share(NamedTuple):
    """The requests of some time.

    Attributes:
        requests: number of requests that had targets.
        met: number of these that were in time.
    """

    requests: int = 0
    met: int = 0

    def burn_rate(self, share: float) -> float:
        """Return how many times as fast as it may the error budget is used up; 0 without requests.

        Args:
            share: share of the requests that is to be in time, below 1.
        """
        return (1.0 - self.met / self.requests) / (1.0 - share) if self.requests else 0.0


def timeliness(targets: LatencyTargets, first_s: float | None, whole_s: float, tokens: int | None) -> Timeliness | None:
    """Return how the latencies of a whole answer were.

    An answer that is not streamed comes at once. It is in time if its last token would have been, had it been streamed.

    Args:
        targets: the latencies that it was to have.
        first_s: seconds from the request's arrival to its first token; None: it was not streamed.
        whole_s: seconds from the request's arrival to the answer's end.
        tokens: tokens of the answer; None: not known.

    Returns:
        None where that cannot be said: its targets say nothing of it, or its tokens are not known.
    """
    if first_s is None:
        due_s = targets.ttft_s + targets.tpot_s * max(0, tokens - 1) if tokens is not None else inf
        if due_s == inf:
            return None
        return Timeliness.MET if whole_s <= due_s else Timeliness.LATE
    if first_s > targets.ttft_s:
        return Timeliness.LATE
    if targets.tpot_s == inf:
        return Timeliness.MET if targets.ttft_s < inf else None
    if tokens is None:
        return None
    return Timeliness.SLOW if whole_s - first_s > targets.tpot_s * (tokens - 1) and tokens > 1 else Timeliness.MET


@final
class Attainment:
    """Counts one model's requests that had targets, by their timeliness, in all and in the last hours.

    Memory does not grow with the number of requests.

    Attributes:
        counts: requests so far, by tenant and timeliness.
        total: all of them.
    """

    __slots__ = ("_buckets", "counts", "total")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, Timeliness], int] = {}
        self.total = Share()
        self._buckets: dict[int, list[int]] = {}

    def count(self, tenant: str, how: Timeliness, now_s: float) -> None:
        """Count a tenant's request that ended at a time, monotonic seconds."""
        key = tenant, how
        self.counts[key] = self.counts.get(key, 0) + 1
        self.total = Share(self.total.requests + 1, self.total.met + (how is Timeliness.MET))
        number = int(now_s / BUCKET_S)
        bucket = self._buckets.get(number)
        if bucket is None:
            self._forget(number)
            bucket = self._buckets[number] = [0, 0]
        bucket[0] += 1
        bucket[1] += how is Timeliness.MET

    def refused(self, tenant: str, targets: LatencyTargets, outcome: Outcome, now_s: float) -> None:
        """Count a request that ended without a whole answer, if it had targets and that was the cluster's doing."""
        if targets is not NO_TARGETS and outcome in OURS:
            self.count(tenant, Timeliness.FAILED, now_s)

    def last(self, window_s: float, now_s: float) -> Share:
        """Return the requests of the last seconds, to the minute.

        Args:
            window_s: these seconds, at most `LONGEST_S`.
            now_s: the time, monotonic seconds.
        """
        first = int((now_s - window_s) / BUCKET_S)
        return _sum(bucket for number, bucket in self._buckets.items() if number > first)

    def _forget(self, number: int) -> None:
        oldest = number - int(LONGEST_S / BUCKET_S)
        for gone in [each for each in self._buckets if each < oldest]:
            del self._buckets[gone]


def attainment_view(limits: AdmissionLimits, attainment: Attainment, now_s: float) -> dict[str, Any] | None:
    """Return a model's objective and attainment as plain JSON values; None: it has no objective, no request had one."""
    targets = limits.targets
    if targets is NO_TARGETS and not attainment.total.requests:
        return None
    windows = {name: attainment.last(window_s, now_s)._asdict() for name, window_s in WINDOWS_S.items()}
    missed = dict.fromkeys((how.value for how in Timeliness if how is not Timeliness.MET), 0)
    for (_, how), count in attainment.counts.items():
        if how is not Timeliness.MET:
            missed[how.value] += count
    return {
        "ttft_s": targets.ttft_s if targets.ttft_s < inf else None,
        "tpot_s": targets.tpot_s if targets.tpot_s < inf else None,
        "share": limits.slo_share,
        "windows": windows,
        "missed": missed,
    }


def _sum(buckets: Iterable[list[int]]) -> Share:
    requests = met = 0
    for bucket in buckets:
        requests += bucket[0]
        met += bucket[1]
    return Share(requests, met)
