"""Admission under any order of events: no request is lost, no bound is exceeded, and turns are fair."""

from dataclasses import dataclass, field
from itertools import count
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.dispatch.replica import Replica
from router.flow_control.admission import Admission
from router.flow_control.engine_cost import EngineCost
from router.flow_control.fair_queue import LATE_TURN, FairQueue
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest, RequestState
from router.flow_control.verdict import Admit, Reject
from router.outcome import HTTP_STATUS, Outcome
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import LatencyTargets

TENANTS = ("ann", "bob", "eve")
MAX_REQUESTS, MAX_BYTES = 4, 5_000
WORKS = st.floats(1.0, 1e5, allow_nan=False)


def load(running: int, waiting: int) -> LoadReport:
    """Return a load report of a replica with these running and waiting requests."""
    return LoadReport(1, running, waiting, 0, 0.0, 0, 0.0, 0.0)


def numbered(number: int, tenant: str, work: float) -> QueuedRequest:
    """Return a request with a number, as admission gives it one when it is offered."""
    request = QueuedRequest(tenant, work)
    request.number = number
    return request


@dataclass
class Book:
    """The test's own account of where every request is."""

    waiting: list[QueuedRequest] = field(default_factory=list)
    in_flight: list[tuple[QueuedRequest, Replica]] = field(default_factory=list)
    refused: int = 0
    done: int = 0
    left: int = 0


class AdmissionMachine(RuleBasedStateMachine):
    """Drives one model's admission as a dispatcher does, with events in any order."""

    late_binding = True

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.room = WaitingRoom(MAX_REQUESTS, MAX_BYTES)
        limits = AdmissionLimits(
            max_wait_s=30.0,
            cold_start_timeout_s=90.0,
            tenants={"bob": TenantLimits(weight=3.0)},
            late_binding=self.late_binding,
        )
        self.admission: Admission[QueuedRequest, Replica] = Admission(limits, self.room)
        self.book = Book()
        self.offered = 0
        self.offered_work = 0.0
        self.joined = 0

    @property
    def replicas(self) -> list[Replica]:
        """Replicas that exist."""
        return self.admission.slots.replicas

    def drawn(self, data: st.DataObject) -> Replica:
        """Draw one of the replicas that exist."""
        return self.replicas[data.draw(st.integers(0, len(self.replicas) - 1))]

    def send(self, request: QueuedRequest) -> None:
        """Send a request to the first replica with room; admission has promised that there is one."""
        slots = self.admission.slots
        replica = slots.with_room(self.replicas, self.now_s)[0]
        assert slots.has_room_in([replica], self.now_s)
        slots.take(replica)
        slots.sent(replica, request.work / 8_000, self.now_s)
        self.book.in_flight.append((request, replica))

    @rule(
        tenant=st.sampled_from(TENANTS),
        work=WORKS,
        priority=st.sampled_from(Priority),
        size_bytes=st.integers(0, MAX_BYTES),
        patience_s=st.one_of(st.just(inf), st.floats(0.0, 200.0)),
    )
    def offer(self, tenant: str, work: float, priority: Priority, size_bytes: int, patience_s: float) -> None:
        """Offer a request."""
        request = QueuedRequest(tenant, work, priority, size_bytes, self.now_s + patience_s)
        self.offered += 1
        self.offered_work += work
        had_room = not len(self.admission) and self.admission.slots.any_open(self.now_s)
        verdict = self.admission.offer(request, self.now_s)
        assert isinstance(verdict, Admit) == had_room
        if isinstance(verdict, Admit):
            self.send(request)
        elif isinstance(verdict, Reject):
            assert HTTP_STATUS[verdict.outcome] == 429
            assert verdict.retry_after >= 1
            self.book.refused += 1
        else:
            self.book.waiting.append(request)
            assert self.room.requests <= MAX_REQUESTS
            assert self.room.size_bytes <= MAX_BYTES
        for displaced, refusal in self.admission.displaced:
            assert refusal.outcome is Outcome.QUEUE_FULL
            assert displaced.priority >= request.priority
            self.book.waiting.remove(displaced)
            self.book.refused += 1
        self.admission.displaced.clear()

    @rule()
    def dispatch_one(self) -> None:
        """Ask for the next request."""
        request = self.admission.next(self.now_s)
        could = bool(self.book.waiting) and self.admission.slots.any_open(self.now_s)
        if request is not None:
            self.book.waiting.remove(request)
            self.send(request)
        else:
            assert not could

    @precondition(lambda self: self.book.in_flight)
    @rule(data=st.data(), real=st.one_of(st.none(), WORKS))
    def end(self, data: st.DataObject, real: float | None) -> None:
        """End a request on its replica."""
        request, replica = self.book.in_flight.pop(data.draw(st.integers(0, len(self.book.in_flight) - 1)))
        self.admission.ended(request, self.now_s, real)
        self.admission.slots.give(replica, self.now_s)
        self.book.done += 1

    @precondition(lambda self: self.book.in_flight)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """Put a dispatched request back."""
        request, replica = self.book.in_flight.pop(data.draw(st.integers(0, len(self.book.in_flight) - 1)))
        self.admission.slots.give(replica, self.now_s)
        self.admission.put_back(request, self.now_s)
        self.book.waiting.append(request)

    @precondition(lambda self: self.book.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Remove a waiting request whose client left; a second time changes nothing."""
        request = self.book.waiting.pop(data.draw(st.integers(0, len(self.book.waiting) - 1)))
        self.admission.remove(request, self.now_s)
        self.admission.remove(request, self.now_s)
        assert request.state is RequestState.GONE
        self.book.left += 1

    @rule(passed_s=st.floats(0.0, 40.0))
    def time_passes(self, passed_s: float) -> None:
        """Let time pass: the requests past their deadline are refused, and no others."""
        self.now_s += passed_s
        late = {request.number for request in self.book.waiting if request.deadline_s <= self.now_s}
        expired = self.admission.expire(self.now_s)
        assert {request.number for request, _ in expired} == late
        for request, refusal in expired:
            expected = Outcome.DEADLINE if self.admission.slots.taking else Outcome.NO_CAPACITY
            assert refusal.outcome is expected
            self.book.waiting.remove(request)
            self.book.refused += 1

    @rule()
    def join(self) -> None:
        """Add a replica."""
        self.joined += 1
        self.admission.join(Replica(Endpoint(f"r{self.joined}", "m", "h", 1)), self.now_s)

    @precondition(lambda self: self.replicas)
    @rule(data=st.data(), action=st.sampled_from(("leave", "drain", "resume")))
    def replica_changes(self, data: st.DataObject, action: str) -> None:
        """Remove or drain a replica; its requests continue."""
        replica = self.drawn(data)
        if action == "leave":
            self.admission.leave(replica, self.now_s)
        else:
            self.admission.drain(replica, self.now_s, draining=action == "drain")

    @precondition(lambda self: self.replicas)
    @rule(
        data=st.data(),
        running=st.integers(0, 20),
        waiting=st.integers(0, 5),
        backlog_s=st.floats(0.0, 5.0),
        unreported=st.integers(0, 3),
    )
    def report(self, data: st.DataObject, running: int, waiting: int, backlog_s: float, unreported: int) -> None:
        """Report a replica's load."""
        report = load(running, waiting)
        self.admission.slots.report(
            self.drawn(data),
            report,
            self.now_s,
            backlog_s=backlog_s,
            unreported=unreported,
            wanted=self.admission.someone_waits,
        )

    @precondition(lambda self: self.replicas)
    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        """Let a replica's reports stop."""
        self.admission.slots.silent(self.drawn(data), self.now_s)

    @invariant()
    def holds(self) -> None:
        """Check that admission agrees with the test's account, and that no bound is exceeded."""
        self.admission.check_integrity(self.now_s)
        book = self.book
        assert len(self.admission) == len(book.waiting)
        figures, view = self.admission.figures(self.now_s), self.admission.view(self.now_s)
        assert view.in_flight == len(book.in_flight)
        assert view.refused == book.refused
        assert (
            view.waiting == figures.waiting_requests == sum(count for _, _, count in view.tenants) == len(book.waiting)
        )
        assert view.held == (0 if self.admission.slots.taking else len(book.waiting))
        assert view.waiting_work == figures.waiting_work == pytest.approx(sum(request.work for request in book.waiting))
        assert figures.offered_requests == self.offered
        assert figures.offered_work == pytest.approx(self.offered_work)
        assert self.offered == len(book.waiting) + len(book.in_flight) + book.refused + book.done + book.left
        assert self.room.requests == len(book.waiting)
        assert self.room.size_bytes == sum(request.size_bytes for request in book.waiting)
        for replica in self.replicas:
            assert replica.in_flight == sum(at is replica for _, at in book.in_flight)


class UnboundAdmissionMachine(AdmissionMachine):
    """Does the same without late binding."""

    late_binding = False

    @invariant()
    def has_room_while_any_replica_takes_requests(self) -> None:
        """Check that every replica that takes requests has room, and that no opening is waited for."""
        slots = self.admission.slots
        assert slots.any_open(self.now_s) == (slots.taking > 0)
        taking = [replica for replica in self.replicas if not replica.slots.draining]
        assert slots.with_room(self.replicas, self.now_s) == slots.with_places(self.replicas, self.now_s) == taking
        assert slots.next_opening_s() is None


TestAdmission = AdmissionMachine.TestCase
TestUnboundAdmission = UnboundAdmissionMachine.TestCase
TestAdmission.settings = TestUnboundAdmission.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(
    works=st.lists(st.lists(WORKS, min_size=20, max_size=60), min_size=2, max_size=5),
    weights=st.lists(st.sampled_from((0.5, 1.0, 2.0, 5.0)), min_size=5, max_size=5),
)
def test_backlogged_tenants_get_work_by_weight(works: list[list[float]], weights: list[float]) -> None:
    """While two tenants wait, their work relative to their weights differs by at most one request of each."""
    queue: FairQueue[QueuedRequest] = FairQueue()
    numbers = count()
    for number, sizes in enumerate(works):
        tenant = queue.tenant(str(number), weights[number])
        for size in sizes:
            queue.push(numbered(next(numbers), str(number), size), tenant)
    served = [0.0] * len(works)
    bounds = [max(sizes) / weights[number] for number, sizes in enumerate(works)]
    while all(tenant.waiting for tenant in queue.tenants.values()):
        request = queue.pop(0.0)
        assert request is not None
        served[int(request.tenant)] += request.work / weights[int(request.tenant)]
        queue.check_integrity()
        for one in range(len(works)):
            for other in range(one):
                assert abs(served[one] - served[other]) <= (bounds[one] + bounds[other]) * (1 + 1e-9)


@given(
    factors=st.lists(st.floats(0.05, 20.0), min_size=2, max_size=4),
    works=st.lists(st.floats(10.0, 1000.0), min_size=30, max_size=30),
)
def test_wrong_estimates_buy_nothing(factors: list[float], works: list[float]) -> None:
    """A tenant whose estimates are wrong by any factor gets the same real work as the others."""
    queue: FairQueue[QueuedRequest] = FairQueue()
    numbers = count()
    tenants = [str(number) for number in range(len(factors))]
    for _ in range(40):
        for tenant in tenants:
            for work in works:
                queue.push(numbered(next(numbers), tenant, work), queue.tenant(tenant, 1.0))
    real = dict.fromkeys(tenants, 0.0)
    for _ in range(400):
        request = queue.pop(0.0)
        assert request is not None
        cost = request.cost * factors[int(request.tenant)]
        queue.settle(request, cost)
        real[request.tenant] += cost
    if all(tenant.waiting for tenant in queue.tenants.values()):
        # At most one request each lies between them, at its estimate or at its real cost.
        slack = 2 * EngineCost().prefill_s * max(works) * max(1.0, *factors)
        assert max(real.values()) - min(real.values()) <= slack * (1 + 1e-9)


@given(order=st.permutations(range(40)))
def test_one_tenant_is_first_come_first_served(order: list[int]) -> None:
    """Requests of one tenant and class are taken in the order in which they came."""
    queue: FairQueue[QueuedRequest] = FairQueue()
    tenant = queue.tenant("ann", 1.0)
    for number in order:
        queue.push(numbered(number, "ann", 1.0 + number), tenant)
    taken = [request.number for request in iter(lambda: queue.pop(0.0), None)]
    assert taken == order


@given(
    ttfts_s=st.lists(st.one_of(st.just(inf), st.floats(0.1, 5.0)), min_size=1, max_size=40),
    gaps_s=st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40),
    serve_s=st.floats(0.05, 2.0),
)
def test_late_requests_let_those_in_time_pass_and_still_move_on(
    ttfts_s: list[float], gaps_s: list[float], serve_s: float
) -> None:
    """One dispatch in ten takes the oldest; the others are in time if any is. Nothing is lost."""
    queue: FairQueue[QueuedRequest] = FairQueue()
    tenant = queue.tenant("ann", 1.0)
    now_s, before_others = 0.0, 0
    for number, ttft_s in enumerate(ttfts_s):
        now_s += gaps_s[number]
        request = QueuedRequest("ann", 1.0 + number, targets=LatencyTargets(ttft_s=ttft_s))
        request.number, request.arrived_s = number, now_s
        queue.push(request, tenant)
    taken: list[int] = []
    while True:
        now_s += serve_s
        waiting = list(tenant.waiting)
        next_one = queue.pop(now_s)
        queue.check_integrity()
        if next_one is None:
            break
        taken.append(next_one.number)
        if next_one.is_late(now_s):
            assert next_one.number == min(waiting)
            before_others += bool(tenant.in_time)
    assert before_others <= len(taken) / LATE_TURN
    assert sorted(taken) == list(range(len(ttfts_s)))
    if all(ttft_s == inf for ttft_s in ttfts_s):
        assert taken == sorted(taken)
