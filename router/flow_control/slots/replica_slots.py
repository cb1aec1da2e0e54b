"""One replica's room: the places that are free in its engine, and the prefill that may be ahead of it."""

from math import inf
from typing import Final

from cluster.autoscaling.ewma import kept
from router.estimator.learning.fading_mean import FadingMean
from router.flow_control.slots.engine_depth import EngineDepth
from router.replicas.load_report import LoadReport

RATE_MEMORY_S: Final = 1.0
"""Seconds after which an ended request counts 1/e, about a third, in the rate at which requests end in an engine."""


class ReplicaSlots:
    """One replica's room, by its last report and by what was sent since.

    Args:
        max_requests: requests of this gateway above which it never has room; 0: no such bound.

    Attributes:
        depth: its learned bounds.
        others: requests of other gateways there, by its last report.
        prefill_until_s: when it will have prefilled all it was given, monotonic seconds.
        busy_until_s: when it takes requests again, by its own word, monotonic seconds; 0: it has not said so.
        draining: whether it takes no more requests.
        is_gone: whether it is no longer a replica of the model.
        is_bounded: whether its bounds apply; False: it has room as long as it takes requests.
        is_reported: whether it has sent a report.
        ended: this gateway's requests that ended there since its last report.
        fair: this gateway's equal share of the requests on a full replica; infinite: the replica is not full, or has
            requests of this gateway alone.
        batch: requests in its engine's batch, by its last report.
        most: requests of this gateway above which it never has room, whatever is learned; infinite: no such bound.
        kept: requests of all gateways with which its streams keep their time per token; infinite: they have no target.
    """

    __slots__ = (
        "_passing",
        "_reported_s",
        "batch",
        "busy_until_s",
        "depth",
        "draining",
        "ended",
        "fair",
        "is_bounded",
        "is_gone",
        "is_reported",
        "kept",
        "most",
        "others",
        "prefill_until_s",
    )

    def __init__(self, max_requests: int = 0) -> None:
        self.depth = EngineDepth()
        self.others = 0
        self.prefill_until_s = 0.0
        self.busy_until_s = 0.0
        self.draining = False
        self.is_gone = False
        self.is_bounded = True
        self.is_reported = False
        self.ended = 0
        self.fair = inf
        self.batch = 0
        self.most = max_requests or inf
        self.kept = inf
        self._passing = FadingMean(0.0, RATE_MEMORY_S)  # a first guess of 0 that counts like one second
        self._reported_s = 0.0

    def has_place(self, in_flight: int) -> bool:
        """Tell whether a place is free there for one more request, whatever prefill is ahead.

        Args:
            in_flight: requests this gateway has there.
        """
        within = in_flight + self.others < self.kept or not in_flight or not self.is_bounded
        return within and self.has_engine_place(in_flight)

    def has_engine_place(self, in_flight: int) -> bool:
        """Tell the same, whatever time per token the streams there are to have.

        On a full replica, a gateway that has its equal share or more only refills the batch, and leaves the places
        beyond it to gateways that have less. Otherwise a gateway would keep every place that its own requests free,
        because it sees these first. A gateway with no request there may always send one, to signal demand.

        Args:
            in_flight: requests this gateway has there.
        """
        if self.draining or in_flight >= self.most:
            return False
        limit = self.depth.limit if in_flight < self.fair else self.batch
        return in_flight + self.others < limit or not in_flight or not self.is_bounded

    def has_room(self, in_flight: int, now_s: float) -> bool:
        """Tell whether it has room for one more request: a free place, and less prefill ahead than its depth."""
        is_soon = self.prefill_until_s - self.depth.depth_s <= now_s or not self.is_bounded
        return is_soon and self.busy_until_s <= now_s and self.has_place(in_flight)

    def opens_s(self, in_flight: int, now_s: float) -> float | None:
        """Return when it has room, `now_s` or later; None: not before a request ends or a report comes."""
        if not self.has_place(in_flight):
            return None
        opens_s = max(now_s, self.busy_until_s)
        return max(opens_s, self.prefill_until_s - self.depth.depth_s) if self.is_bounded else opens_s

    def report(  # noqa: PLR0913 - what there is to know of one report
        self,
        load: LoadReport,
        in_flight: int,
        own: int,
        now_s: float,
        *,
        backlog_s: float,
        step_s: float,
        wanted: bool,
    ) -> None:
        """Take the replica's load report, and learn its bounds from it.

        Args:
            load: the report.
            in_flight: requests this gateway has there.
            own: number of these that the report contains.
            now_s: the time, monotonic seconds.
            backlog_s: seconds of prefill ahead of it.
            step_s: seconds of the longest prefill of one step of its engine; 0: not known.
            wanted: requests wait in the gateway, and this replica was full.
        """
        on_replica = load.running + load.waiting
        if not self.is_reported:
            self.is_reported = True
            self.depth.first_report()
        else:
            self._learn_rate(in_flight, on_replica, now_s)
        self._reported_s = now_s
        self.ended = 0
        self.others = max(0, on_replica - own)
        self.prefill_until_s = now_s + backlog_s
        self.depth.observe(
            now_s=now_s,
            running=load.running,
            waiting=load.waiting,
            backlog_s=backlog_s,
            wanted=wanted,
            per_s=self.per_s,
            step_s=step_s,
        )
        sharers = load.gateways + (not in_flight)
        self.batch = load.running
        self.fair = on_replica / sharers if sharers > 1 and self.depth.is_near(on_replica) else inf

    def silent(self) -> None:
        """Forget the requests of other gateways: the replica's reports have stopped."""
        self.others = 0
        self.fair = inf

    def _learn_rate(self, in_flight: int, on_replica: int, now_s: float) -> None:
        passed_s = now_s - self._reported_s
        if passed_s > 0:
            share = (in_flight + self.ended) / max(1, max(in_flight, on_replica) + self.ended)
            ended = self.ended / share if self.ended else 0.0
            self._passing.observe(ended, passed_s, kept(passed_s, RATE_MEMORY_S))

    @property
    def per_s(self) -> float:
        """Requests of all gateways that end there per second, about."""
        return self._passing.mean

    @property
    def limit(self) -> float:
        """Requests of all gateways that it may have, as learned: by its engine, and by its streams' time per token."""
        return min(self.depth.limit, self.kept)

    def occupancy(self, in_flight: int) -> float:
        """Return the share of its limit that is taken by the requests of all gateways, 0 to 1."""
        return min(1.0, (in_flight + self.others) / min(self.limit, self.most))
