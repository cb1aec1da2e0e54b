"""Admission's parts: room on replicas, learned depth, drain rate, rate limits, who waits and who makes way."""

import random
from dataclasses import replace

import pytest
from router.flow_control.unacknowledged import Unacknowledged

from router.flow_control.admission import Admission
from router.flow_control.drain_rate import DrainRate
from router.flow_control.engine_depth import FIRST_LIMIT
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority, priority_named
from router.flow_control.queued_request import QueuedRequest
from router.flow_control.rate_limits import RateLimits
from router.flow_control.slots import Slots
from router.flow_control.token_bucket import TokenBucket
from router.flow_control.verdict import ADMIT, WAIT, Reject
from router.flow_control.work import OutputEstimate, work_of
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.snapshot import ReplicaSnapshot


def report(running: int = 0, waiting: int = 0) -> LoadReport:
    """A load report."""
    return LoadReport(1, running, waiting, 0, 0.0, 0, 0.0, 0.0)


def full(admission: Admission[str], now_s: float = 0.0) -> None:
    """Give an admission one replica that has no more room."""
    admission.join("r", now_s)
    while admission.slots.any_open(now_s):
        admission.slots.take("r", 0.0, now_s)


# --- where there is room


def test_requests_on_their_way_are_not_taken_for_others() -> None:
    """A report contains the first of ours it has accepted; one that never arrived is given up after a second."""
    sent = Unacknowledged()
    for number in range(5):
        sent.add(number * 0.01)
    assert sent.reported(3, 0.1) == 2
    assert sent.reported(5, 0.2) == 0
    sent.add(0.3)  # is lost on its way
    sent.add(0.4)
    assert sent.reported(6, 0.5) == 1
    assert sent.reported(6, 1.45) == 0
    sent.add(1.5)
    assert sent.reported(6, 1.55) == 1
    assert sent.reported(7, 1.6) == 0


def test_a_replica_opens_again_when_its_prefill_is_nearly_done() -> None:
    """A long prompt closes a replica until what is ahead of it is less than its depth; others stay open."""
    slots = Slots()
    for name in ("a", "b"):
        slots.join(name)
    replicas = [ReplicaSnapshot(Endpoint(name, "m", "h", 1)) for name in ("a", "b")]
    assert slots.with_room(replicas, 0.0) is replicas
    slots.take("a", 6.0, 0.0)
    assert slots.with_room(replicas, 0.0) == replicas[1:]
    slots.take("b", 2.0, 0.0)
    assert not slots.any_open(0.0)
    assert slots.next_opening_s() == pytest.approx(2.0 - 0.25)
    assert not slots.any_open(1.7)
    assert slots.with_room(replicas, 1.76) == replicas[1:]
    assert slots.with_room(replicas, 5.76) == replicas
    slots.report("a", report(running=1), 5.8, backlog_s=3.0)
    assert slots.with_room(replicas, 5.8) == replicas[1:]
    slots.check_integrity(5.8)


def test_other_gateways_requests_take_room_too() -> None:
    """What a report counts beyond this gateway's own requests is the others' and uses up the limit."""
    slots = Slots()
    slots.join("a")
    slots.report("a", report(running=int(FIRST_LIMIT) - 1), 0.0)
    assert slots.replicas["a"].others == FIRST_LIMIT - 1
    assert slots.any_open(0.0)
    slots.take("a", 0.0, 0.0)
    # The limit doubled with the report, since the engine took all: seven more fit, not fifteen.
    for _ in range(int(slots.replicas["a"].depth.limit) - int(FIRST_LIMIT)):
        assert slots.any_open(0.0)
        slots.take("a", 0.0, 0.0)
    assert not slots.any_open(0.0)
    slots.give("a", 0.0)
    assert slots.any_open(0.0)


def test_gateways_come_to_equal_shares_of_a_replica() -> None:
    """One has all twenty places when a second and then a third one come: soon each has its third, and none is idle."""
    gateways = [Slots() for _ in range(3)]
    for slots in gateways:
        slots.join("a")
    at = [slots.replicas["a"] for slots in gateways]
    chance = random.Random(1)
    for tenth in range(300):
        now_s = tenth / 10
        busy = 1 + min(2, tenth // 100)
        told = sum(replica.in_flight for replica in at)
        load = replace(
            report(running=min(20, told), waiting=max(0, told - 20)), gateways=sum(r.in_flight > 0 for r in at)
        )
        for slots in gateways[:busy]:
            slots.report("a", load, now_s, wanted=True)
        for _ in range(10):  # a tenth of a second: half of what runs ends, each place goes to whoever sees it first
            for slots, replica in zip(gateways, at, strict=True):
                if replica.in_flight and chance.random() < replica.in_flight / 20:
                    slots.give("a", now_s)
                while slots in gateways[:busy] and slots.any_open(now_s):
                    slots.take("a", 0.0, now_s)
        if tenth % 100 == 99:
            assert sum(replica.in_flight for replica in at) >= 20
            assert min(replica.in_flight for replica in at[:busy]) >= 0.6 * max(
                replica.in_flight for replica in at[:busy]
            )


# --- how fast it drains


def test_drain_rate_counts_only_time_in_which_requests_wait() -> None:
    """Ten units a second while requests wait and an idle hour make ten; a queue that stands still, less and less."""
    drain = DrainRate()
    drain.set_replicas(2, 0.0)
    assert drain.per_s(0.0) == 0.0
    drain.began(0.0)
    for tenth in range(1, 101):
        drain.drained(1.0, tenth / 10)
    drain.ended(10.0)
    assert drain.per_s(10.0) == pytest.approx(10.0, rel=0.02)
    assert drain.per_s(3_610.0) == pytest.approx(10.0, rel=0.02)
    drain.set_replicas(4, 3_610.0)
    assert drain.per_s(3_610.0) == pytest.approx(20.0, rel=0.02)
    drain.began(3_610.0)
    assert drain.per_s(3_640.0) < 10.0
    drain.set_replicas(0, 3_640.0)
    assert drain.per_s(3_640.0) == 0.0


# --- rate limits


def test_a_bucket_lets_its_burst_through_and_then_its_rate() -> None:
    """Three at once, then one a second; debt is paid off before the next; what was not used is given back."""
    bucket = TokenBucket(per_s=1.0, burst=3.0, now_s=0.0)
    assert bucket.wait_s(3.0, 0.0) == 0.0
    bucket.take(3.0)
    assert bucket.wait_s(1.0, 0.0) == pytest.approx(1.0)
    assert bucket.wait_s(1.0, 1.0) == 0.0
    bucket.take(3.0)
    assert bucket.wait_s(1.0, 1.0) == pytest.approx(3.0)
    bucket.take(-10.0)
    assert bucket.level(1.0) == 3.0
    assert bucket.wait_s(100.0, 1.0) == 0.0
    with pytest.raises(ValueError, match="nothing through"):
        TokenBucket(per_s=0.0, burst=1.0, now_s=0.0)


def test_a_tenant_over_its_limit_is_told_when_to_come_back_and_others_are_not_held_up() -> None:
    """The eleventh request of ten seconds' worth is refused as `rate_limited` with the time until the next fits."""
    limits = AdmissionLimits(tenants={"ann": TenantLimits(requests_per_minute=60.0)})
    admission: Admission[str] = Admission(limits, rates=RateLimits(limits.tenants, 0.0))
    admission.join("r", 0.0)
    verdicts = [admission.offer(QueuedRequest("x", "ann", 10.0), 0.0) for _ in range(11)]
    assert verdicts[:10] == [ADMIT] * 10
    refused = verdicts[10]
    assert isinstance(refused, Reject)
    assert refused.outcome is Outcome.RATE_LIMITED
    assert refused.retry_after == 1
    assert admission.offer(QueuedRequest("x", "bob", 10.0), 0.0) is ADMIT
    assert admission.offer(QueuedRequest("x", "ann", 10.0), 1.0) is ADMIT


def test_token_limits_are_settled_with_the_real_work() -> None:
    """A request that cost twice its estimate takes twice as much of its tenant's tokens."""
    limits = AdmissionLimits(tenants={"ann": TenantLimits(tokens_per_minute=600.0)})
    admission: Admission[str] = Admission(limits, rates=RateLimits(limits.tenants, 0.0))
    admission.join("r", 0.0)
    claim = QueuedRequest("x", "ann", 50.0)
    assert admission.offer(claim, 0.0) is ADMIT
    admission.ended(claim, 100.0)
    refused = admission.offer(QueuedRequest("y", "ann", 50.0), 0.0)
    assert isinstance(refused, Reject)
    assert refused.retry_after == 5


# --- who waits


def test_the_expected_wait_decides_by_the_real_drain_rate() -> None:
    """With 100 units a second draining, a request with 2 s to spare is refused behind 500 units and told when."""
    admission: Admission[int] = Admission(AdmissionLimits(max_wait_s=100.0))
    admission.join("r", 0.0)
    now_s = 0.0
    while admission.offer(QueuedRequest(0, "ann", 10.0), now_s) is ADMIT:
        admission.slots.take("r", 0.0, now_s)
    for number in range(150):
        admission.offer(QueuedRequest(number, "ann", 10.0), now_s)
    for _ in range(100):
        now_s += 0.1
        admission.slots.give("r", now_s)
        claim = admission.next(now_s)
        assert claim is not None
        admission.slots.take("r", 0.0, now_s)
    probe = QueuedRequest(1, "ann", 10.0, deadline_s=now_s + 2.0)
    assert admission.expected_wait_s(probe, now_s) == pytest.approx(5.1, rel=0.05)
    refused = admission.offer(probe, now_s)
    assert isinstance(refused, Reject)
    assert refused.outcome is Outcome.DEADLINE
    assert refused.retry_after_s == pytest.approx(3.1, abs=0.3)
    # A tenant with nothing waiting gets its turn at once, an urgent request sooner still.
    assert admission.offer(QueuedRequest(2, "bob", 10.0, deadline_s=now_s + 2.0), now_s) is WAIT
    assert admission.offer(QueuedRequest(3, "ann", 10.0, Priority.HIGH, deadline_s=now_s + 2.0), now_s) is WAIT


def test_with_no_replica_requests_are_held_and_served_when_one_comes() -> None:
    """A scaled-down model's requests wait longer than `max_wait_s`, and go out when the first replica is there."""
    admission: Admission[int] = Admission(AdmissionLimits(max_wait_s=1.0, cold_start_timeout_s=100.0))
    assert [admission.offer(QueuedRequest(number, "ann", 1.0), 0.0) for number in range(3)] == [WAIT] * 3
    assert not admission.expire(60.0)
    assert admission.next(60.0) is None
    admission.join("r", 70.0)
    assert [claim.owner for claim in iter(lambda: admission.next(70.0), None)] == [0, 1, 2]


def test_held_too_long_is_no_capacity() -> None:
    """When no replica comes within the cold-start timeout, the outcome says so."""
    admission: Admission[int] = Admission(AdmissionLimits(cold_start_timeout_s=100.0))
    admission.offer(QueuedRequest(0, "ann", 1.0), 0.0)
    ((_, refused),) = admission.expire(100.0)
    assert refused.outcome is Outcome.NO_CAPACITY


def test_a_flood_makes_way_for_other_tenants_and_for_urgent_requests() -> None:
    """In a full room the newest of the largest tenant gives up its place, or of the least urgent class."""
    admission: Admission[str] = Admission(AdmissionLimits(), WaitingRoom(max_requests=4))
    full(admission)
    for number in range(4):
        assert admission.offer(QueuedRequest(f"eve{number}", "eve", 1.0), 0.0) is WAIT
    assert isinstance(admission.offer(QueuedRequest("eve4", "eve", 1.0), 0.0), Reject)
    assert admission.offer(QueuedRequest("ann", "ann", 1.0), 0.0) is WAIT
    assert [claim.owner for claim, _ in admission.displaced] == ["eve3"]
    admission.displaced.clear()
    assert admission.offer(QueuedRequest("urgent", "eve", 1.0, Priority.HIGH), 0.0) is WAIT
    assert [claim.owner for claim, _ in admission.displaced] == ["eve2"]
    admission.displaced.clear()
    low = admission.offer(QueuedRequest("low", "bob", 1.0, Priority.LOW), 0.0)
    assert isinstance(low, Reject)
    assert low.outcome is Outcome.QUEUE_FULL
    admission.check_integrity(0.0)


def test_bytes_are_bounded_too() -> None:
    """A body larger than what is left does not fit, though there are places."""
    admission: Admission[str] = Admission(AdmissionLimits(), WaitingRoom(max_requests=100, max_bytes=1_000))
    full(admission)
    assert admission.offer(QueuedRequest("a", "ann", 1.0, size_bytes=900), 0.0) is WAIT
    refused = admission.offer(QueuedRequest("b", "ann", 1.0, size_bytes=101), 0.0)
    assert isinstance(refused, Reject)
    assert refused.outcome is Outcome.QUEUE_FULL
    assert admission.offer(QueuedRequest("c", "ann", 1.0, size_bytes=100), 0.0) is WAIT


def test_weights_can_change_while_requests_wait() -> None:
    """New limits count from the next request on."""
    admission: Admission[str] = Admission(AdmissionLimits(), WaitingRoom())
    full(admission)
    for tenant in ("ann", "bob"):
        for _ in range(40):
            admission.offer(QueuedRequest(tenant, tenant, 1.0), 0.0)
    admission.set_limits(AdmissionLimits(tenants={"bob": TenantLimits(weight=4.0)}))
    admission.check_integrity(0.0)
    taken = []
    for _ in range(25):
        admission.slots.give("r", 0.0)
        claim = admission.next(0.0)
        assert claim is not None
        admission.slots.take("r", 0.0, 0.0)
        taken.append(claim.owner)
    assert 18 <= taken.count("bob") <= 21


def test_requests_end_and_are_put_back_only_from_where_they_are() -> None:
    """A request that was not dispatched cannot end, nor be put back."""
    admission: Admission[str] = Admission(AdmissionLimits())
    claim = QueuedRequest("x", "ann", 1.0)
    with pytest.raises(ValueError, match="cannot end"):
        admission.ended(claim)
    with pytest.raises(ValueError, match="put back"):
        admission.put_back(claim, 0.0)


# --- words and numbers


def test_priorities_by_name() -> None:
    """Names are read whatever their case; unknown ones are told what there is; none gets above its tenant's best."""
    assert priority_named(" High ") is Priority.HIGH
    with pytest.raises(ValueError, match="high, normal, low"):
        priority_named("urgent")
    tenants = {"eve": TenantLimits(), "ann": TenantLimits(priority=Priority.LOW, max_priority=Priority.HIGH)}
    limits = AdmissionLimits(tenants=tenants)
    assert limits.priority_of("eve", Priority.HIGH) is Priority.NORMAL
    assert limits.priority_of("eve", Priority.LOW) is Priority.LOW
    assert limits.priority_of("ann", None) is Priority.LOW
    assert limits.priority_of("ann", Priority.HIGH) is Priority.HIGH


def test_output_lengths_are_learned() -> None:
    """Answers of forty tokens make forty the estimate; what the client allows at most bounds it."""
    estimate = OutputEstimate()
    assert estimate.tokens(None) == 256.0
    assert estimate.tokens(16) == 16.0
    for _ in range(500):
        estimate.observe(40.0)
    assert estimate.tokens(None) == pytest.approx(40.0, abs=1.0)
    assert work_of(0.0, 0.0) == 1.0
    assert work_of(100.0, 10.0) == 140.0
