"""Which replicas of a model have room for one more request now, as one gateway knows.

A replica has room while it has fewer requests than its learned limit and less prefill ahead of it than its learned
depth. The caller says with each report and each dispatch how much prefill is ahead of it (`router.estimator` knows); in
between it falls as time passes.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from math import exp, inf
from typing import TypeVar

from router.flow_control.engine_depth import EngineDepth
from router.replicas.snapshot import LoadReport, ReplicaSnapshot

_STALE_OPENINGS = 64
_RATE_TAU_S = 1.0

ReplicaT = TypeVar("ReplicaT", bound=ReplicaSnapshot)


class ReplicaSlots:
    """One replica's room.

    Attributes:
        depth: its learned bounds.
        in_flight: requests this gateway has there.
        others: requests of other gateways there, as last reported.
        prefill_until_s: when it will have prefilled what it was given.
        draining: it takes no more requests.
        is_reported: it has telemetry.
        ended: this gateway's requests that ended there since its last report.
        per_s: requests of all gateways that end there a second, about.
        fair: an equal part of a full replica for each gateway with requests there; infinite where it is not full, or
            this gateway's alone.
        batch: requests that ran there, as last reported.
    """

    __slots__ = (
        "batch", "depth", "draining", "ended", "fair", "in_flight", "is_reported", "others", "per_s", "prefill_until_s",
        "reported_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.depth = EngineDepth()
        self.in_flight = 0
        self.others = 0
        self.prefill_until_s = 0.0
        self.draining = False
        self.is_reported = False
        self.ended = 0
        self.per_s = 0.0
        self.reported_s = 0.0
        self.fair = inf
        self.batch = 0

    def has_place(self) -> bool:
        """Tell whether it may have one more request, as far as their number goes.

        Whose request ends sees the place first, so whoever has the places would keep them. Therefore a gateway with its
        fair part or more only fills the batch, and leaves what is beyond to those that have less; and each may always
        have one request there, by which the others learn that it wants a part.
        """
        limit = self.depth.limit if self.in_flight < self.fair else self.batch
        return (self.in_flight + self.others < limit or not self.in_flight) and not self.draining

    def has_room(self, now_s: float) -> bool:
        """Tell whether it has room for one more request."""
        return self.prefill_until_s - self.depth.depth_s <= now_s and self.has_place()

    def opens_s(self, now_s: float) -> float | None:
        """Return when it has room: `now_s` or later; None: only once a request ends or a report comes."""
        if not self.has_place():
            return None
        return max(now_s, self.prefill_until_s - self.depth.depth_s)

    def report(  # noqa: PLR0913 - what there is to know of one report
        self, load: LoadReport, backlog_s: float, step_s: float, unacknowledged: int, now_s: float, *, wanted: bool
    ) -> None:
        """Take the replica's word for its load; for the arguments see `Slots.report`."""
        if not self.is_reported:
            self.is_reported = True
            self.depth.first_report()
        else:
            self._learn_rate(load.running + load.waiting, now_s)
        self.reported_s = now_s
        self.ended = 0
        self.others = max(0, load.running + load.waiting - max(0, self.in_flight - unacknowledged))
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
        sharers = load.gateways + (not self.in_flight)
        self.batch = load.running
        self.fair = (
            (load.running + load.waiting) / sharers
            if sharers > 1 and self.depth.is_near(load.running + load.waiting)
            else inf
        )

    def _learn_rate(self, on_replica: int, now_s: float) -> None:
        passed_s = now_s - self.reported_s
        if passed_s > 0:
            keep = exp(-passed_s / _RATE_TAU_S)
            share = (self.in_flight + self.ended) / max(1, max(self.in_flight, on_replica) + self.ended)
            self.per_s = keep * self.per_s + (1.0 - keep) * (self.ended / passed_s / share if self.ended else 0.0)

    def occupancy(self) -> float:
        """Return the share of its limit that is taken, 0 to 1."""
        return min(1.0, (self.in_flight + self.others) / self.depth.limit)


class Slots:
    """The room of all replicas of one model. O(1) a call, amortised, but for the heap of those that open by time.

    Attributes:
        replicas: by id, all that exist.
        taking: how many of them take requests, full or not; the others drain.
        prefill_s: seconds of prefill this gateway has ever given to replicas.
    """

    def __init__(self) -> None:
        self.replicas: dict[str, ReplicaSlots] = {}
        self.taking = 0
        self.prefill_s = 0.0
        self._open: set[str] = set()
        self._opening: list[tuple[float, str]] = []

    def join(self, replica_id: str) -> None:
        """A replica is there."""
        if replica_id not in self.replicas:
            self.replicas[replica_id] = ReplicaSlots()
            self._open.add(replica_id)
            self.taking += 1

    def leave(self, replica_id: str) -> None:
        """A replica is gone; giving back what was taken of it does nothing from now on."""
        replica = self.replicas.pop(replica_id, None)
        if replica is not None and not replica.draining:
            self.taking -= 1
        self._open.discard(replica_id)

    def set_draining(self, replica_id: str, *, draining: bool, now_s: float) -> None:
        """Give a replica no more requests, or again some."""
        replica = self.replicas.get(replica_id)
        if replica is not None and replica.draining != draining:
            replica.draining = draining
            self.taking += -1 if draining else 1
            self._settle(replica_id, replica, now_s)

    def take(self, replica_id: str, prefill_s: float, now_s: float) -> None:
        """A request is sent to a replica. Nothing is checked: retries and resumed streams may go beyond its room.

        Args:
            replica_id: where.
            prefill_s: how long the replica will prefill it; 0 where that is not known.
            now_s: the time.
        """
        replica = self.replicas.get(replica_id)
        if replica is not None:
            replica.in_flight += 1
            if prefill_s > 0:
                self.prefill_s += prefill_s
                replica.prefill_until_s = max(now_s, replica.prefill_until_s) + prefill_s
            if not replica.has_room(now_s):
                self._settle(replica_id, replica, now_s)

    def give(self, replica_id: str, now_s: float) -> None:
        """A request on a replica ended."""
        replica = self.replicas.get(replica_id)
        if replica is not None:
            if replica.in_flight:
                replica.in_flight -= 1
                replica.ended += 1
            if replica_id not in self._open:
                self._settle(replica_id, replica, now_s)

    def report(  # noqa: PLR0913 - what there is to know of one report
        self,
        replica_id: str,
        load: LoadReport,
        now_s: float,
        *,
        backlog_s: float = 0.0,
        step_s: float = 0.0,
        unacknowledged: int = 0,
        wanted: bool = False,
    ) -> None:
        """Take a replica's report.

        Args:
            replica_id: whose.
            load: the report.
            now_s: the time.
            backlog_s: seconds of prefill ahead of it, those of unacknowledged requests included.
            step_s: the longest prefill of one step of its engine.
            unacknowledged: requests sent there that the report does not know of yet.
            wanted: requests of the model wait in this gateway.
        """
        replica = self.replicas.get(replica_id)
        if replica is not None:
            was_full = replica_id not in self._open
            replica.report(load, backlog_s, step_s, unacknowledged, now_s, wanted=wanted and was_full)
            self._settle(replica_id, replica, now_s)

    def silent(self, replica_id: str, now_s: float) -> None:
        """A replica's reports have stopped: what others have there is not known any more."""
        replica = self.replicas.get(replica_id)
        if replica is not None:
            replica.others = 0
            replica.fair = inf
            self._settle(replica_id, replica, now_s)

    def any_open(self, now_s: float) -> bool:
        """Tell whether any replica has room."""
        if self._opening and self._opening[0][0] <= now_s:
            self._open_due(now_s)
        return bool(self._open)

    def with_room(self, candidates: Sequence[ReplicaT], now_s: float) -> Sequence[ReplicaT]:
        """Return those of `candidates` that have room, in their order."""
        if self._opening:
            self.any_open(now_s)
        if len(self._open) == len(self.replicas):
            return candidates
        return [candidate for candidate in candidates if candidate.endpoint.replica_id in self._open]

    def with_places(self, candidates: Sequence[ReplicaT], now_s: float) -> Sequence[ReplicaT]:
        """Return those of `candidates` that may have one more request, however much prefill is ahead of them."""
        if self._opening:
            self.any_open(now_s)
        if len(self._open) == len(self.replicas):
            return candidates
        replicas = self.replicas
        return [
            candidate
            for candidate in candidates
            if (replica := replicas.get(candidate.endpoint.replica_id)) is not None and replica.has_place()
        ]

    def next_opening_s(self) -> float | None:
        """Return when to look again because a replica will have room by then; None: no time is known."""
        return self._opening[0][0] if self._opening else None

    def occupancy(self) -> float:
        """Return the share of all replicas' limits that is taken, 0 to 1; 1 where there is no replica."""
        taking = [replica.occupancy() for replica in self.replicas.values() if not replica.draining]
        return sum(taking) / len(taking) if taking else 1.0

    def _settle(self, replica_id: str, replica: ReplicaSlots, now_s: float) -> None:
        opens_s = replica.opens_s(now_s)
        if opens_s is None:
            self._open.discard(replica_id)
        elif opens_s <= now_s:
            self._open.add(replica_id)
        else:
            self._open.discard(replica_id)
            heappush(self._opening, (opens_s, replica_id))
            if len(self._opening) > 4 * len(self.replicas) + _STALE_OPENINGS:
                self._forget_stale_openings(now_s)

    def _open_due(self, now_s: float) -> None:
        while self._opening and self._opening[0][0] <= now_s:
            _, replica_id = heappop(self._opening)
            replica = self.replicas.get(replica_id)
            if replica is not None and replica_id not in self._open:
                self._settle(replica_id, replica, now_s)

    def _forget_stale_openings(self, now_s: float) -> None:
        opening = ((replica.opens_s(now_s), replica_id) for replica_id, replica in self.replicas.items())
        self._opening = sorted((opens_s, key) for opens_s, key in opening if opens_s is not None and opens_s > now_s)

    def check_integrity(self, now_s: float) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.any_open(now_s)
        for replica_id, replica in self.replicas.items():
            opens_s = replica.opens_s(now_s)
            if replica.has_room(now_s) != (replica_id in self._open):
                raise AssertionError(f"{replica_id} opens at {opens_s}, it is {now_s}, and is listed otherwise")
            if opens_s is not None and opens_s > now_s and not any(key == replica_id for _, key in self._opening):
                raise AssertionError(f"{replica_id} would never be opened again")
            if replica.in_flight < 0 or replica.others < 0:
                raise AssertionError(f"{replica_id} has {replica.in_flight} + {replica.others} requests")
        if self.taking != sum(not replica.draining for replica in self.replicas.values()):
            raise AssertionError(f"{self.taking} replicas are counted as taking requests")
        if not self._open <= self.replicas.keys():
            raise AssertionError("a replica that is gone is open")
