"""One replica's room: places in its engine, and prefill it may have ahead of it."""

from math import inf

from cluster.autoscaling.ewma import Ewma, kept
from router.flow_control.engine_depth import EngineDepth
from router.replicas.load_report import LoadReport

RATE_MEMORY_S = 1.0
"""Seconds after which the rate at which requests pass through an engine has faded to a third."""


class ReplicaSlots:
    """One replica's room, from what it reported and what was sent since.

    Attributes:
        depth: its learned bounds.
        others: requests of other gateways there, as last reported.
        prefill_until_s: when it will have prefilled what it was given.
        draining: it takes no more requests.
        is_gone: it is no longer a replica of the model.
        is_bounded: its bounds count; False: it always has room.
        is_reported: it has telemetry.
        ended: this gateway's requests that ended there since its last report.
        fair: this gateway's equal share of a full replica; infinite where it is not full, or this gateway's alone.
        batch: requests that ran there, as last reported.
    """

    __slots__ = (
        "_passing",
        "_reported_s",
        "batch",
        "depth",
        "draining",
        "ended",
        "fair",
        "is_bounded",
        "is_gone",
        "is_reported",
        "others",
        "prefill_until_s",
    )

    def __init__(self) -> None:
        self.depth = EngineDepth()
        self.others = 0
        self.prefill_until_s = 0.0
        self.draining = False
        self.is_gone = False
        self.is_bounded = True
        self.is_reported = False
        self.ended = 0
        self.fair = inf
        self.batch = 0
        self._passing = Ewma(0.0, RATE_MEMORY_S)  # a first guess of 0 that weighs as much as a second
        self._reported_s = 0.0

    def has_place(self, in_flight: int) -> bool:
        """Tell whether it may have one more request, by their number.

        Each gateway is capped at an equal share of a full replica: a gateway whose request ends sees the free place
        first and would keep it. At its share it only fills the batch and leaves what is beyond to gateways with less.
        An idle gateway may always send one request, to signal demand.

        Args:
            in_flight: requests this gateway has there.
        """
        if self.draining:
            return False
        limit = self.depth.limit if in_flight < self.fair else self.batch
        return in_flight + self.others < limit or not in_flight or not self.is_bounded

    def has_room(self, in_flight: int, now_s: float) -> bool:
        """Tell whether it has room for one more request."""
        is_soon = self.prefill_until_s - self.depth.depth_s <= now_s or not self.is_bounded
        return is_soon and self.has_place(in_flight)

    def opens_s(self, in_flight: int, now_s: float) -> float | None:
        """Return when it has room: `now_s` or later; None: only once a request ends or a report comes."""
        if not self.has_place(in_flight):
            return None
        return max(now_s, self.prefill_until_s - self.depth.depth_s) if self.is_bounded else now_s

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
        """Take the replica's word for its load.

        Args:
            load: the report.
            in_flight: requests this gateway has there.
            own: of those, the ones that the report contains.
            now_s: the time.
            backlog_s: seconds of prefill ahead of it.
            step_s: seconds of the longest prefill of one step of its engine.
            wanted: requests wait in the gateway because of this replica's bounds, among others.
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
        """Its reports have stopped: what others have there is not known any more."""
        self.others = 0
        self.fair = inf

    def _learn_rate(self, in_flight: int, on_replica: int, now_s: float) -> None:
        passed_s = now_s - self._reported_s
        if passed_s > 0:
            share = (in_flight + self.ended) / max(1, max(in_flight, on_replica) + self.ended)
            ended = self.ended / share if self.ended else 0.0
            self._passing = self._passing.observed(ended, passed_s, kept(passed_s, RATE_MEMORY_S))

    @property
    def per_s(self) -> float:
        """Requests of all gateways that end there a second, about."""
        return self._passing.mean

    def occupancy(self, in_flight: int) -> float:
        """Return the share of its limit that is taken, 0 to 1."""
        return min(1.0, (in_flight + self.others) / self.depth.limit)
