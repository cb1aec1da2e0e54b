"""Admission of one model's requests: dispatch now, wait in the gateway, or refuse with a reason.

The dispatcher calls

    offer     a request came               → Admit | Wait | Reject
    next      a replica may have room      → the waiting request to dispatch; its replica is picked only then
    expire    a few times a second         → the waiting requests whose time is over
    remove    a waiting request's client left
    ended     a dispatched request ended, with its real work
    put_back  a dispatched request must wait again
    join      a replica takes requests
    drain     it takes no more requests, or takes some again
    leave     it is gone

and counts its picks in `slots`: `slots.take` after each pick, `slots.give` when the request has ended there. Nothing
here picks a replica; `slots.with_room` narrows the candidates for the policy.
"""

from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, Generic

from cluster.autoscaling.metrics.figures import GatewayFigures
from router.flow_control.attainment import Attainment
from router.flow_control.classes import PriorityClasses
from router.flow_control.drain_rate import DrainRate
from router.flow_control.engine_cost import EngineCost
from router.flow_control.fair_queue import TenantQueue
from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.queue_view import QueueView
from router.flow_control.queued_request import DISPATCHED, ENDED, GONE, WAITING, RequestT
from router.flow_control.slots.slots import ReplicaT, Slots
from router.flow_control.tenant_limits.rate_limits import RateLimits
from router.flow_control.verdict import ADMIT, WAIT, Reject, Verdict, reject
from router.outcome import Outcome

_STALE_DEADLINES: Final = 64
"""Entries in the heap of deadlines, beyond two a waiting request, above which those of other requests are dropped."""


class Admission(Generic[RequestT, ReplicaT]):
    """Flow control of one model in one gateway process.

    Args:
        limits: the model's bounds on waiting.
        room: the waiting room that all models of the process share; None: one of its own.
        rates: the tenants' rate limits over all models of the process; None: no limits.
        prices: what requests cost; None: what is assumed before any replica has told.

    Attributes:
        limits: the model's bounds on waiting.
        slots: which replicas have room.
        attainment: how many requests had the latencies that they were to have.
        displaced: requests that lost their place to a more urgent one, or to a tenant with fewer requests. The caller
            refuses them and empties this list after each `offer`.
    """

    def __init__(
        self,
        limits: AdmissionLimits,
        room: WaitingRoom | None = None,
        rates: RateLimits | None = None,
        prices: EngineCost | None = None,
    ) -> None:
        self.limits = limits
        self.slots: Slots[ReplicaT] = Slots(late_binding=limits.late_binding)
        self.displaced: list[tuple[RequestT, Reject]] = []
        self._room = room or WaitingRoom()
        self._rates = rates
        self._classes: PriorityClasses[RequestT] = PriorityClasses(limits.ageing_s, prices)
        self._drain = DrainRate()
        self._deadlines: list[tuple[float, int, RequestT]] = []
        self._numbers = count()
        self._room_bytes = 0
        self._offered = 0
        self._offered_work = 0.0
        self._offered_work_squared = 0.0
        self._dispatched_work = 0.0
        self.attainment = Attainment()
        self._refused = 0
        self._left = 0
        self._in_flight = 0
        self._ended = 0

    @property
    def someone_waits(self) -> bool:
        """Whether at least one request waits."""
        return self._classes.count > 0

    def __len__(self) -> int:
        """Return the number of waiting requests."""
        return len(self._classes)

    def join(self, replica: ReplicaT, now_s: float) -> None:
        """Add a replica that takes requests."""
        self.slots.join(replica)
        self._drain.set_replicas(self.slots.taking, now_s)

    def leave(self, replica: ReplicaT, now_s: float) -> None:
        """Remove a replica that is gone. `ended` must still be called for its requests."""
        self.slots.leave(replica)
        self._drain.set_replicas(self.slots.taking, now_s)

    def drain(self, replica: ReplicaT, now_s: float, *, draining: bool = True) -> None:
        """Give a replica no more requests; with `draining` False, give it some again."""
        self.slots.set_draining(replica, draining=draining, now_s=now_s)
        self._drain.set_replicas(self.slots.taking, now_s)

    def offer(self, request: RequestT, now_s: float) -> Verdict:
        """Decide on a new request.

        Returns:
            Admit: dispatch it now. Wait: `next` returns it; `displaced` may have gained requests. Reject: refuse it.
        """
        self._offered += 1
        request.number = self._offered
        work = request.work
        self._offered_work += work
        self._offered_work_squared += work * work
        request.arrived_s = now_s
        if self._rates is not None and self._rates.applies:
            wait_s = self._rates.take(request.tenant, request.work, now_s)
            if wait_s > 0:
                return self._refuse(request, Outcome.RATE_LIMITED, wait_s, "this key's rate limit is used up")
        queue = self._classes.queues[request.priority]
        tenant = queue.tenants.get(request.tenant)
        if tenant is None:
            tenant = queue.tenant(request.tenant, self.limits.tenant(request.tenant).weight)
        if not self._classes.count and self.slots.any_open(now_s):
            queue.charge(request, tenant)
            self._in_flight += 1
            self._dispatched_work += work
            request.state = DISPATCHED
            return ADMIT
        return self._wait(request, tenant, now_s)

    def next(self, now_s: float) -> RequestT | None:
        """Take the next waiting request out, and charge its tenant; None: no replica has room, or nothing waits."""
        while self._classes and self.slots.any_open(now_s):
            request = self._classes.pop(now_s)
            if request is None:
                break
            self._stop_waiting(request, now_s, dispatched=True)
            request.state = DISPATCHED
            self._in_flight += 1
            self._dispatched_work += request.work
            return request
        return None

    def put_back(self, request: RequestT, now_s: float) -> None:
        """Undo a dispatch: the request waits again, as its tenant's first, even if the waiting room is full.

        Raises:
            ValueError: the request is not dispatched.
        """
        if request.state is not DISPATCHED:
            raise ValueError(f"a request that is {request.state.name} cannot be put back")
        self._in_flight -= 1
        self._dispatched_work -= request.work
        self._classes.put_back(request)
        if request.deadline_s == inf:
            request.deadline_s = now_s + self._longest_s()
        self._start_waiting(request, now_s)

    def remove(self, request: RequestT, now_s: float) -> None:
        """Remove a waiting request whose client left. Does nothing for a request that does not wait."""
        if request.state is WAITING:
            self._classes.remove(request)
            self._stop_waiting(request, now_s, dispatched=False)
            self._left += 1
            self._uncharge_rate(request)

    def expire(self, now_s: float) -> list[tuple[RequestT, Reject]]:
        """Take out the waiting requests whose deadline has passed, and return each with its refusal."""
        expired: list[tuple[RequestT, Reject]] = []
        while self._deadlines and self._deadlines[0][0] <= now_s:
            request = heappop(self._deadlines)[2]
            if request.state is WAITING:
                refusal = self._too_late(request, now_s)
                expired.append((request, refusal))
                self._classes.remove(request)
                self._stop_waiting(request, now_s, dispatched=False)
                self._count_refused(request, refusal.outcome, now_s)
                self._uncharge_rate(request)
        return expired

    def ended(self, request: RequestT, now_s: float, work: float | None = None, cost: float | None = None) -> None:
        """End a dispatched request; call once.

        Args:
            request: the request.
            now_s: when it ended, monotonic seconds.
            work: its real work, counted like `request.work`; None: not known, so the estimate stands.
            cost: its real cost, counted like `request.cost`; None: as much more or less as the work is.

        Raises:
            ValueError: the request is not dispatched.
        """
        if request.state is not DISPATCHED:
            raise ValueError(f"a request that is {request.state.name} cannot end")
        work = request.work if work is None else work
        cost = request.cost * work / request.work if cost is None else cost
        self._classes.queues[request.priority].ended(request, cost)
        if self._rates is not None and self._rates.applies:
            self._rates.settle(request.tenant, request.work, work, request.arrived_s, now_s)
        request.state = ENDED
        self._in_flight -= 1
        self._ended += 1

    def expected_wait_s(self, request: RequestT, now_s: float) -> float:
        """Return the seconds that a request would wait if it came now, about; 0: none, or no drain rate is known."""
        if not self._classes:
            return 0.0
        work_per_s = self._drain.per_s(now_s)
        if work_per_s <= 0:
            return 0.0
        queue = self._classes.queues[request.priority]
        tenant = queue.tenant(request.tenant, self.limits.tenant(request.tenant).weight)
        return self._classes.expected_wait_s(request.priority, tenant, work_per_s)

    def waiting(self) -> list[RequestT]:
        """Return all requests that wait."""
        return list(self._classes.waiting())

    def figures(self, now_s: float) -> GatewayFigures:
        """Return this gateway's figures for the autoscaler."""
        self.slots.any_open(now_s)
        judged = self.attainment.total
        return GatewayFigures(
            waiting_requests=len(self._classes),
            waiting_work=self._classes.waiting_work,
            offered_requests=self._offered,
            offered_work=self._offered_work,
            offered_work_squared=self._offered_work_squared,
            dispatched_work=self._dispatched_work,
            prefill_s=self.slots.prefill_s,
            occupancy=self.slots.occupancy(),
            slo_requests=judged.requests,
            slo_met=judged.met,
        )

    def view(self, now_s: float) -> QueueView:
        """Return the queue as people see it."""
        waiting_work = self._classes.waiting_work
        work_per_s = self._drain.per_s(now_s)
        return QueueView(
            waiting=len(self._classes),
            held=0 if self.slots.taking else len(self._classes),
            waiting_work=waiting_work,
            drain_s=waiting_work / work_per_s if work_per_s > 0 else 0.0,
            in_flight=self._in_flight,
            refused=self._refused,
            tenants=tuple(self._classes.waiting_by_tenant()),
        )

    def set_limits(self, limits: AdmissionLimits) -> None:
        """Apply other bounds from now on. Requests that wait keep their deadlines."""
        self.limits = limits
        self._classes.ageing_s = limits.ageing_s
        for queue in self._classes.queues:
            for tenant in queue.tenants:
                queue.reweigh(tenant, limits.tenant(tenant).weight)

    def _wait(self, request: RequestT, tenant: TenantQueue[RequestT], now_s: float) -> Verdict:
        held = not self.slots.taking
        longest_s = self._longest_s()
        if held and longest_s <= 0:
            self._uncharge_rate(request)
            return self._refuse(request, Outcome.NO_REPLICA, 1.0, "no replica of the model is ready; try again soon")
        patience_s = longest_s if request.deadline_s == inf else request.deadline_s - now_s
        if held and patience_s > longest_s:
            patience_s = longest_s
            request.deadline_s = now_s + longest_s
        wait_s = 0.0 if held else self.expected_wait_s(request, now_s)
        if wait_s > patience_s or patience_s <= 0:
            self._uncharge_rate(request)
            return self._refuse(
                request,
                Outcome.DEADLINE,
                wait_s - patience_s,
                f"the wait is about {wait_s:.0f} s, longer than the {max(0.0, patience_s):g} s this request may wait",
            )
        if not self._room.fits(request.size_bytes) and not self._displace(request, tenant, now_s):
            self._uncharge_rate(request)
            return self._refuse(request, Outcome.QUEUE_FULL, self._fits_in_s(request, now_s), "too many requests wait")
        if request.deadline_s == inf:
            request.deadline_s = now_s + longest_s
        self._classes.push(request, tenant)
        self._start_waiting(request, now_s)
        return WAIT

    def _longest_s(self) -> float:
        """Return the seconds that a request without a deadline of its own may wait."""
        return self.limits.max_wait_s if self.slots.taking else self.limits.cold_start_timeout_s

    def _displace(self, request: RequestT, tenant: TenantQueue[RequestT], now_s: float) -> bool:
        victims_of = self._classes.displaceable(request, tenant)
        if victims_of is None:
            return False
        victims: list[RequestT] = []
        freed_bytes = 0
        for victim in reversed(victims_of.waiting.values()):
            victims.append(victim)
            freed_bytes += victim.size_bytes
            if self._room.fits(request.size_bytes, len(victims), freed_bytes):
                break
        else:
            return False
        for victim in victims:
            self._classes.remove(victim)
            self._stop_waiting(victim, now_s, dispatched=False)
            self._uncharge_rate(victim)
            self._count_refused(victim, Outcome.QUEUE_FULL, now_s)
            retry_s = self._fits_in_s(victim, now_s)
            verdict = reject(Outcome.QUEUE_FULL, retry_s, "too many requests wait, and this one was the least urgent")
            self.displaced.append((victim, verdict))
        return True

    def _start_waiting(self, request: RequestT, now_s: float) -> None:
        if len(self._classes) == 1:
            self._drain.began(now_s)
        request.state = WAITING
        self._room.enter(request.size_bytes)
        self._room_bytes += request.size_bytes
        heappush(self._deadlines, (request.deadline_s, next(self._numbers), request))

    def _stop_waiting(self, request: RequestT, now_s: float, *, dispatched: bool) -> None:
        if dispatched:
            self._drain.drained(request.work, now_s)
        else:
            request.state = GONE
        if not self._classes:
            self._drain.ended(now_s)
        self._room.leave(request.size_bytes)
        self._room_bytes -= request.size_bytes
        if len(self._deadlines) > 2 * len(self._classes) + _STALE_DEADLINES:
            self._deadlines = [item for item in self._deadlines if item[2].state is WAITING]
            heapify(self._deadlines)

    def _too_late(self, request: RequestT, now_s: float) -> Reject:
        waited_s = now_s - request.arrived_s
        if not self.slots.taking:
            return reject(Outcome.NO_CAPACITY, waited_s, f"no replica became ready within {waited_s:.0f} s")
        return reject(
            Outcome.DEADLINE, self.expected_wait_s(request, now_s), f"no replica had room within {waited_s:.0f} s"
        )

    def _fits_in_s(self, request: RequestT, now_s: float) -> float:
        """Return the seconds until the waiting room has a place for the request again, 1 where that is not known.

        It has one once a part of the queue as large as the request has drained.
        """
        work_per_s = self._drain.per_s(now_s)
        waiting = len(self._classes)
        if work_per_s <= 0 or not waiting:
            return 1.0
        requests = max(1.0, waiting * request.size_bytes / max(1, self._room_bytes))
        return requests * self._classes.waiting_work / waiting / work_per_s

    def _refuse(self, request: RequestT, outcome: Outcome, retry_after_s: float, message: str) -> Reject:
        request.state = GONE
        self._count_refused(request, outcome, request.arrived_s)
        return reject(outcome, retry_after_s, message)

    def _count_refused(self, request: RequestT, outcome: Outcome, now_s: float) -> None:
        self._refused += 1
        self.attainment.refused(request.tenant, request.targets, outcome, now_s)

    def _uncharge_rate(self, request: RequestT) -> None:
        if self._rates is not None:
            self._rates.give_back(request.tenant, request.work, request.arrived_s)

    def check_integrity(self, now_s: float) -> None:
        """Check what must always hold: nothing is lost, nothing is counted twice, no bound is exceeded.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self._classes.check_integrity()
        self.slots.check_integrity(now_s)
        waiting = list(self._classes.waiting())
        counted = self._refused + self._left + len(waiting) + self._in_flight + self._ended
        if counted != self._offered:
            raise AssertionError(f"{self._offered} requests were offered, {counted} are accounted for")
        if any(request.state is not WAITING for request in waiting):
            raise AssertionError("a request that is not WAITING waits")
        timed = {id(item[2]) for item in self._deadlines}
        if any(id(request) not in timed for request in waiting):
            raise AssertionError("a waiting request has no deadline")
        if self._room_bytes != sum(request.size_bytes for request in waiting):
            raise AssertionError(f"{self._room_bytes} bytes are counted as waiting")
        if self._room.requests < len(waiting) or self._room.size_bytes < self._room_bytes:
            raise AssertionError("the waiting room counts less than waits here")
        in_flight = sum(tenant.in_flight for queue in self._classes.queues for tenant in queue.tenants.values())
        if in_flight != self._in_flight:
            raise AssertionError(f"{self._in_flight} requests are in flight, the tenants' add up to {in_flight}")
        if len(self._deadlines) > 2 * len(waiting) + _STALE_DEADLINES + 1:
            raise AssertionError("deadlines of requests that are gone pile up")
