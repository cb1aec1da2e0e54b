"""Admission under any order of events: nothing is lost, no bound is exceeded, who is next is fair."""

from dataclasses import dataclass, field
from math import inf

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.flow_control.admission import Admission
from router.flow_control.fair_queue import FairQueue
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest, RequestState
from router.flow_control.verdict import Admit, Reject
from router.outcome import HTTP_STATUS, Outcome
from router.replicas.load_report import LoadReport

TENANTS = ("ann", "bob", "eve")
MAX_REQUESTS, MAX_BYTES = 4, 5_000
WORKS = st.floats(1.0, 1e5, allow_nan=False)


def load(running: int, waiting: int) -> LoadReport:
    """A report of a replica that runs and queues so many."""
    return LoadReport(1, running, waiting, 0, 0.0, 0, 0.0, 0.0)


@dataclass
class Book:
    """Where every request is, kept by the test."""

    waiting: list[QueuedRequest[int]] = field(default_factory=list)
    in_flight: list[tuple[QueuedRequest[int], str]] = field(default_factory=list)
    refused: int = 0
    done: int = 0
    left: int = 0


class AdmissionMachine(RuleBasedStateMachine):
    """Drives one model's admission as a gateway does, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.room = WaitingRoom(MAX_REQUESTS, MAX_BYTES)
        limits = AdmissionLimits(max_wait_s=30.0, cold_start_timeout_s=90.0, tenants={"bob": TenantLimits(weight=3.0)})
        self.admission: Admission[int] = Admission(limits, self.room)
        self.book = Book()
        self.offered = 0
        self.replicas = 0

    def send(self, claim: QueuedRequest[int]) -> None:
        """Pick the first replica with room, as admission promised there is."""
        slots = self.admission.slots
        name = next(name for name, replica in slots.replicas.items() if replica.has_room(self.now_s))
        slots.take(name, claim.work / 8_000, self.now_s)
        self.book.in_flight.append((claim, name))

    @rule(
        tenant=st.sampled_from(TENANTS),
        work=WORKS,
        priority=st.sampled_from(Priority),
        size_bytes=st.integers(0, MAX_BYTES),
        patience_s=st.one_of(st.just(inf), st.floats(0.0, 200.0)),
    )
    def offer(self, tenant: str, work: float, priority: Priority, size_bytes: int, patience_s: float) -> None:
        """A request comes."""
        claim = QueuedRequest(self.offered, tenant, work, priority, size_bytes, self.now_s + patience_s)
        self.offered += 1
        had_room = not len(self.admission) and self.admission.slots.any_open(self.now_s)
        verdict = self.admission.offer(claim, self.now_s)
        assert isinstance(verdict, Admit) == had_room
        if isinstance(verdict, Admit):
            self.send(claim)
        elif isinstance(verdict, Reject):
            assert HTTP_STATUS[verdict.outcome] == 429
            assert verdict.retry_after >= 1
            self.book.refused += 1
        else:
            self.book.waiting.append(claim)
            assert self.room.requests <= MAX_REQUESTS
            assert self.room.size_bytes <= MAX_BYTES
        for displaced, refusal in self.admission.displaced:
            assert refusal.outcome is Outcome.QUEUE_FULL
            assert displaced.priority >= claim.priority
            self.book.waiting.remove(displaced)
            self.book.refused += 1
        self.admission.displaced.clear()

    @rule()
    def dispatch_one(self) -> None:
        """Room is announced."""
        claim = self.admission.next(self.now_s)
        could = bool(self.book.waiting) and self.admission.slots.any_open(self.now_s)
        if claim is not None:
            self.book.waiting.remove(claim)
            self.send(claim)
        else:
            assert not could

    @precondition(lambda self: self.book.in_flight)
    @rule(data=st.data(), real=st.one_of(st.none(), WORKS))
    def end(self, data: st.DataObject, real: float | None) -> None:
        """A request ends on its replica."""
        claim, name = self.book.in_flight.pop(data.draw(st.integers(0, len(self.book.in_flight) - 1)))
        self.admission.ended(claim, real)
        self.admission.slots.give(name, self.now_s)
        self.book.done += 1

    @precondition(lambda self: self.book.in_flight)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """A dispatched request could not be sent."""
        claim, name = self.book.in_flight.pop(data.draw(st.integers(0, len(self.book.in_flight) - 1)))
        self.admission.slots.give(name, self.now_s)
        self.admission.put_back(claim, self.now_s)
        self.book.waiting.append(claim)

    @precondition(lambda self: self.book.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A waiting request's client leaves; doing it twice changes nothing."""
        claim = self.book.waiting.pop(data.draw(st.integers(0, len(self.book.waiting) - 1)))
        self.admission.remove(claim, self.now_s)
        self.admission.remove(claim, self.now_s)
        assert claim.state is RequestState.GONE
        self.book.left += 1

    @rule(passed_s=st.floats(0.0, 40.0))
    def time_passes(self, passed_s: float) -> None:
        """Requests whose time is over are refused, and no others."""
        self.now_s += passed_s
        late = {claim.owner for claim in self.book.waiting if claim.deadline_s <= self.now_s}
        expired = self.admission.expire(self.now_s)
        assert {claim.owner for claim, _ in expired} == late
        for claim, refusal in expired:
            expected = Outcome.DEADLINE if self.admission.slots.taking else Outcome.NO_CAPACITY
            assert refusal.outcome is expected
            self.book.waiting.remove(claim)
            self.book.refused += 1

    @rule()
    def join(self) -> None:
        """A replica comes up."""
        self.admission.join(f"r{self.replicas}", self.now_s)
        self.replicas += 1

    @precondition(lambda self: self.replicas)
    @rule(data=st.data(), action=st.sampled_from(("leave", "drain", "resume")))
    def replica_changes(self, data: st.DataObject, action: str) -> None:
        """A replica goes or drains; its requests go on."""
        name = f"r{data.draw(st.integers(0, self.replicas - 1))}"
        if action == "leave":
            self.admission.leave(name, self.now_s)
        else:
            self.admission.drain(name, self.now_s, draining=action == "drain")

    @precondition(lambda self: self.replicas)
    @rule(data=st.data(), running=st.integers(0, 20), waiting=st.integers(0, 5), backlog_s=st.floats(0.0, 5.0))
    def report(self, data: st.DataObject, running: int, waiting: int, backlog_s: float) -> None:
        """A replica reports its load."""
        name = f"r{data.draw(st.integers(0, self.replicas - 1))}"
        wanted = bool(len(self.admission))
        self.admission.slots.report(name, load(running, waiting), self.now_s, backlog_s=backlog_s, wanted=wanted)

    @invariant()
    def holds(self) -> None:
        """The admission agrees with the test's book, and no bound is exceeded."""
        self.admission.check_integrity(self.now_s)
        book = self.book
        assert len(self.admission) == len(book.waiting)
        assert self.admission.load(self.now_s).in_flight == len(book.in_flight)
        assert self.offered == len(book.waiting) + len(book.in_flight) + book.refused + book.done + book.left
        assert self.room.requests == len(book.waiting)
        assert self.room.size_bytes == sum(claim.size_bytes for claim in book.waiting)


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(
    works=st.lists(st.lists(WORKS, min_size=20, max_size=60), min_size=2, max_size=5),
    weights=st.lists(st.sampled_from((0.5, 1.0, 2.0, 5.0)), min_size=5, max_size=5),
)
def test_backlogged_tenants_get_work_by_weight(works: list[list[float]], weights: list[float]) -> None:
    """While two tenants both wait, what they got for their weight never differs by more than a request of each."""
    queue: FairQueue[int] = FairQueue()
    for number, sizes in enumerate(works):
        flow = queue.flow(str(number), weights[number])
        for size in sizes:
            queue.push(QueuedRequest(0, str(number), size), flow)
    served = [0.0] * len(works)
    bounds = [max(sizes) / weights[number] for number, sizes in enumerate(works)]
    while all(flow.waiting for flow in queue.flows.values()):
        claim = queue.pop()
        assert claim is not None
        served[int(claim.tenant)] += claim.work / weights[int(claim.tenant)]
        queue.check_integrity()
        for one in range(len(works)):
            for other in range(one):
                assert abs(served[one] - served[other]) <= (bounds[one] + bounds[other]) * (1 + 1e-9)


@given(
    factors=st.lists(st.floats(0.05, 20.0), min_size=2, max_size=4),
    works=st.lists(st.floats(10.0, 1000.0), min_size=30, max_size=30),
)
def test_wrong_estimates_buy_nothing(factors: list[float], works: list[float]) -> None:
    """A tenant whose requests cost a multiple of their estimates still gets no more real work than the others."""
    queue: FairQueue[int] = FairQueue()
    tenants = [str(number) for number in range(len(factors))]
    for _ in range(40):
        for number, tenant in enumerate(tenants):
            for work in works:
                queue.push(QueuedRequest(number, tenant, work), queue.flow(tenant, 1.0))
    real = dict.fromkeys(tenants, 0.0)
    for _ in range(400):
        claim = queue.pop()
        assert claim is not None
        cost = claim.work * factors[int(claim.tenant)]
        queue.settle(claim, cost)
        real[claim.tenant] += cost
    if all(flow.waiting for flow in queue.flows.values()):
        # One request each, at its estimate or its real cost, is as far apart as they can be.
        slack = 2 * max(works) * max(1.0, *factors)
        assert max(real.values()) - min(real.values()) <= slack * (1 + 1e-9)


@given(order=st.permutations(range(40)))
def test_one_tenant_is_first_come_first_served(order: list[int]) -> None:
    """Within one tenant and class, nothing overtakes."""
    queue: FairQueue[int] = FairQueue()
    flow = queue.flow("ann", 1.0)
    for number in order:
        queue.push(QueuedRequest(number, "ann", 1.0 + number), flow)
    taken = [claim.owner for claim in iter(queue.pop, None)]
    assert taken == order
