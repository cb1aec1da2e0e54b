"""Slots: which replicas of a model have room for one more request now, as far as one gateway knows.

A replica has room while it has fewer requests than its learned limit, and less prefill ahead than its learned depth.
Each report and each dispatch sets how much prefill is ahead; in between it shrinks as time passes.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Final, Generic, Protocol, TypeVar

from router.flow_control.slots.replica_slots import ReplicaSlots
from router.replicas.engine_load import EngineLoad
from router.replicas.load_report import LoadReport

_STALE_OPENINGS: Final = 64
"""Entries in the heap of openings, beyond four for each replica, above which outdated ones are dropped."""


class SlottedReplica(Protocol):
    """The part of a replica's record that slots need.

    Attributes:
        replica_id: its id, for error messages.
        in_flight: requests of the model that this gateway has there; `Slots` counts them.
        engine: those of all models on its engine; `Slots` counts them too.
        slots: its room.
    """

    replica_id: str
    in_flight: int
    engine: EngineLoad
    slots: ReplicaSlots


ReplicaT = TypeVar("ReplicaT", bound=SlottedReplica)


class Slots(Generic[ReplicaT]):
    """The room of all replicas of one model.

    A replica is open while it has room. A call is O(1), amortised, but for the heap of replicas that time will open.

    Args:
        late_binding: requests wait in the gateway until a replica has room; False: every replica that takes requests
            has room.

    Attributes:
        replicas: the replicas that exist.
        taking: number of these that take requests, full or not; the others drain.
        prefill_s: seconds of prefill that this gateway ever gave to replicas.
        on_room: called when another model on a replica's engine gave a place back, so this model has room there.
    """

    def __init__(self, *, late_binding: bool = True) -> None:
        self.replicas: list[ReplicaT] = []
        self.taking = 0
        self.prefill_s = 0.0
        self.on_room: Callable[[], None] = _nothing
        self._late_binding = late_binding
        self._open: set[ReplicaT] = set()
        self._opening: list[tuple[float, int, ReplicaT]] = []
        self._numbers = count()

    def join(self, replica: ReplicaT) -> None:
        """Add a replica that takes requests."""
        replica.slots.is_bounded = self._late_binding
        replica.engine.join(replica, partial(self._look_again, replica))
        self.replicas.append(replica)
        if replica.slots.has_place(replica.engine.in_flight):
            self._open.add(replica)
        self.taking += 1

    def leave(self, replica: ReplicaT) -> None:
        """Remove a replica that is gone. Its places may still be given back, but it never has room again."""
        replica.engine.leave(replica)
        self.replicas.remove(replica)
        self._open.discard(replica)
        if not replica.slots.draining:
            self.taking -= 1
        replica.slots.draining = replica.slots.is_gone = True

    def set_draining(self, replica: ReplicaT, *, draining: bool, now_s: float) -> None:
        """Give a replica no more requests; with `draining` False, give it some again."""
        if replica.slots.draining != draining:
            replica.slots.draining = draining
            self.taking += -1 if draining else 1
            self._settle(replica, now_s)

    def set_most(self, replica: ReplicaT, max_requests: int, now_s: float) -> None:
        """Bound the requests of this gateway on a replica; 0: by what is learned alone. Those there go on."""
        replica.slots.most = max_requests or inf
        self._settle(replica, now_s)

    def keep(self, replica: ReplicaT, requests: float, now_s: float) -> None:
        """Bound the requests of all gateways on a replica, so that its streams keep their time per token."""
        replica.slots.kept = requests
        self._settle(replica, now_s)

    def take(self, replica: ReplicaT) -> None:
        """Take a place on a replica. Its room is not checked, because retries and resumed streams may exceed it."""
        replica.in_flight += 1
        replica.engine.in_flight += 1

    def sent(self, replica: ReplicaT, prefill_s: float, now_s: float) -> None:
        """Count the prefill of a request that has taken its place.

        Args:
            replica: the replica it is sent to.
            prefill_s: seconds that its prefill will take there; 0: not known.
            now_s: the time, monotonic seconds.
        """
        slots = replica.slots
        if prefill_s > 0:
            self.prefill_s += prefill_s
            slots.prefill_until_s = max(now_s, slots.prefill_until_s) + prefill_s
        if not slots.has_room(replica.engine.in_flight, now_s):
            self._settle(replica, now_s)
            if replica.engine.is_shared:
                replica.engine.is_full(now_s)

    def give(self, replica: ReplicaT, now_s: float, *, is_served: bool = True) -> None:
        """Give a place back: a request on the replica ended.

        Args:
            replica: the replica.
            now_s: the time, monotonic seconds.
            is_served: it was not refused or failed, so it counts in the rate at which requests end there.
        """
        replica.in_flight -= 1
        replica.engine.in_flight -= 1
        slots = replica.slots
        slots.ended += is_served
        if replica not in self._open:
            self._settle(replica, now_s)
            if replica.engine.is_shared or slots.is_gone:
                replica.engine.has_room(now_s)

    def back_off(self, replica: ReplicaT, until_s: float, now_s: float) -> None:
        """Give a replica no more requests until a time, as it says that it has too much to do."""
        replica.slots.busy_until_s = max(replica.slots.busy_until_s, until_s)
        self._settle(replica, now_s)

    def report(  # noqa: PLR0913 - what there is to know of one report
        self,
        replica: ReplicaT,
        load: LoadReport,
        now_s: float,
        *,
        backlog_s: float = 0.0,
        step_s: float = 0.0,
        unreported: int = 0,
        wanted: bool = False,
    ) -> None:
        """Take a replica's load report.

        Args:
            replica: the replica.
            load: its report.
            now_s: the time, monotonic seconds.
            backlog_s: seconds of prefill ahead of it, with the requests that the report does not contain yet.
            step_s: seconds of the longest prefill of one step of its engine; 0: not known.
            unreported: number of requests sent there that the report does not contain yet.
            wanted: requests of the model wait in this gateway.
        """
        own = max(0, replica.engine.in_flight - unreported)
        was_full = replica not in self._open
        replica.slots.report(
            load, replica.engine.in_flight, own, now_s, backlog_s=backlog_s, step_s=step_s, wanted=wanted and was_full
        )
        self._settle(replica, now_s)

    def silent(self, replica: ReplicaT, now_s: float) -> None:
        """Forget the requests of other gateways on a replica: its reports have stopped."""
        replica.slots.silent()
        self._settle(replica, now_s)

    def any_open(self, now_s: float) -> bool:
        """Tell whether any replica has room."""
        if self._opening and self._opening[0][0] <= now_s:
            self._open_due(now_s)
        return bool(self._open)

    def with_room(self, candidates: Sequence[ReplicaT], now_s: float) -> Sequence[ReplicaT]:
        """Return the candidates that have room, in their order."""
        if self._opening:
            self.any_open(now_s)
        if len(self._open) == len(self.replicas):
            return candidates
        return [candidate for candidate in candidates if candidate in self._open]

    def with_places(self, candidates: Sequence[ReplicaT], now_s: float) -> Sequence[ReplicaT]:
        """Return the candidates with a free place, whatever prefill is ahead and streams run there, in their order.

        What their streams lose is in the price of those that read prompts; what they hold cached may be worth more.
        """
        if self._opening:
            self.any_open(now_s)
        if len(self._open) == len(self.replicas):
            return candidates
        return [
            candidate
            for candidate in candidates
            if candidate.slots.busy_until_s <= now_s and candidate.slots.has_engine_place(candidate.engine.in_flight)
        ]

    @staticmethod
    def has_room_in(replicas: Iterable[ReplicaT], now_s: float) -> bool:
        """Tell whether any of `replicas` has room."""
        return any(replica.slots.has_room(replica.engine.in_flight, now_s) for replica in replicas)

    def next_opening_s(self) -> float | None:
        """Return when a replica may have room, in monotonic seconds; None: no time is known."""
        return self._opening[0][0] if self._opening else None

    def occupancy(self) -> float:
        """Return how much of its limit a replica that takes requests uses on average, 0 to 1; 0: there is none."""
        taking = [
            replica.slots.occupancy(replica.engine.in_flight) for replica in self.replicas if not replica.slots.draining
        ]
        return sum(taking) / len(taking) if taking else 0.0

    def _look_again(self, replica: ReplicaT, now_s: float) -> None:
        """Note that another model took the last place on a replica's engine, or gave one back."""
        if replica.slots.is_gone:
            return
        self._settle(replica, now_s)
        if replica in self._open:
            self.on_room()

    def _settle(self, replica: ReplicaT, now_s: float) -> None:
        opens_s = replica.slots.opens_s(replica.engine.in_flight, now_s)
        if opens_s is None:
            self._open.discard(replica)
        elif opens_s <= now_s:
            self._open.add(replica)
        else:
            self._open.discard(replica)
            heappush(self._opening, (opens_s, next(self._numbers), replica))
            if len(self._opening) > 4 * len(self.replicas) + _STALE_OPENINGS:
                self._forget_stale_openings(now_s)

    def _open_due(self, now_s: float) -> None:
        while self._opening and self._opening[0][0] <= now_s:
            replica = heappop(self._opening)[2]
            if not replica.slots.is_gone and replica not in self._open:
                self._settle(replica, now_s)

    def _forget_stale_openings(self, now_s: float) -> None:
        opening = [(replica.slots.opens_s(replica.engine.in_flight, now_s), replica) for replica in self.replicas]
        self._opening = sorted(
            (opens_s, next(self._numbers), replica)
            for opens_s, replica in opening
            if opens_s is not None and opens_s > now_s
        )

    def check_integrity(self, now_s: float) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.any_open(now_s)
        for replica in self.replicas:
            slots, name = replica.slots, replica.replica_id
            opens_s = slots.opens_s(replica.engine.in_flight, now_s)
            if slots.has_room(replica.engine.in_flight, now_s) != (replica in self._open):
                raise AssertionError(f"{name} opens at {opens_s}, it is {now_s}, and is listed otherwise")
            if opens_s is not None and opens_s > now_s and not any(item[2] is replica for item in self._opening):
                raise AssertionError(f"{name} would never be opened again")
            if not 0 <= replica.in_flight <= replica.engine.in_flight or slots.others < 0:
                raise AssertionError(
                    f"{name} has {replica.in_flight} of {replica.engine.in_flight} + {slots.others} requests"
                )
        if self.taking != sum(not replica.slots.draining for replica in self.replicas):
            raise AssertionError(f"{self.taking} replicas are counted as taking requests")
        if not self._open <= set(self.replicas):
            raise AssertionError("a replica that is gone is open")


def _nothing() -> None:
    pass
