"""Admission and its parts: drain rate, rate limits, who waits, who makes way, and the figures for others."""

import pytest

from cluster.autoscaling.metrics.figures import GatewayFigures
from router.dispatch.replica import Replica
from router.flow_control.admission import Admission
from router.flow_control.drain_rate import DrainRate
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority, priority_named
from router.flow_control.queued_request import QueuedRequest
from router.flow_control.tenant_limits.rate_limits import RateLimits
from router.flow_control.tenant_limits.token_bucket import TokenBucket
from router.flow_control.verdict import ADMIT, WAIT, Reject
from router.flow_control.work import OutputEstimate, work_of
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport

ModelAdmission = Admission[QueuedRequest, Replica]


def joined(admission: ModelAdmission, now_s: float = 0.0) -> Replica:
    """Add a replica to an admission, and return it."""
    replica = Replica(Endpoint("r", "m", "h", 1))
    admission.join(replica, now_s)
    return replica


def send(admission: ModelAdmission, replica: Replica, now_s: float = 0.0) -> None:
    """Send a request to a replica."""
    admission.slots.take(replica)
    admission.slots.sent(replica, 0.0, now_s)


def full(admission: ModelAdmission, now_s: float = 0.0) -> Replica:
    """Add a replica to an admission and fill it; return it."""
    replica = joined(admission, now_s)
    while admission.slots.any_open(now_s):
        send(admission, replica, now_s)
    return replica


# --- how fast it drains


def test_drain_rate_counts_only_time_in_which_requests_wait() -> None:
    """An idle hour does not change the rate, twice the replicas double it, and a queue that stands still lowers it."""
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
    """It gives three at once, then one a second; a debt is paid off first, and what is given back fills it up."""
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


def test_a_tenant_over_its_limit_learns_when_to_come_back_and_others_are_not_held_up() -> None:
    """After ten seconds' worth of requests at once, the next is refused as `rate_limited`, with the time to retry."""
    limits = AdmissionLimits(tenants={"ann": TenantLimits(requests_per_minute=60.0)})
    admission: ModelAdmission = Admission(limits, rates=RateLimits(limits.tenants, 0.0))
    joined(admission)
    verdicts = [admission.offer(QueuedRequest("ann", 10.0), 0.0) for _ in range(11)]
    assert verdicts[:10] == [ADMIT] * 10
    refused = verdicts[10]
    assert isinstance(refused, Reject)
    assert refused.outcome is Outcome.RATE_LIMITED
    assert refused.retry_after == 1
    assert admission.offer(QueuedRequest("bob", 10.0), 0.0) is ADMIT
    assert admission.offer(QueuedRequest("ann", 10.0), 1.0) is ADMIT


def test_token_limits_are_settled_with_the_real_work() -> None:
    """A request that cost twice its estimate uses up twice as many of its tenant's tokens."""
    limits = AdmissionLimits(tenants={"ann": TenantLimits(tokens_per_minute=600.0)})
    admission: ModelAdmission = Admission(limits, rates=RateLimits(limits.tenants, 0.0))
    joined(admission)
    request = QueuedRequest("ann", 50.0)
    assert admission.offer(request, 0.0) is ADMIT
    admission.ended(request, 0.0, 100.0)
    refused = admission.offer(QueuedRequest("ann", 50.0), 0.0)
    assert isinstance(refused, Reject)
    assert refused.retry_after == 5


# --- who waits


def test_the_expected_wait_decides_by_the_real_drain_rate() -> None:
    """At a drain rate of 100 a second, a request behind a work of 500 that may wait 2 s is refused at once."""
    admission: ModelAdmission = Admission(AdmissionLimits(max_wait_s=100.0))
    replica = joined(admission)
    now_s = 0.0
    while admission.offer(QueuedRequest("ann", 10.0), now_s) is ADMIT:
        send(admission, replica, now_s)
    for _ in range(150):
        admission.offer(QueuedRequest("ann", 10.0), now_s)
    for _ in range(100):
        now_s += 0.1
        admission.slots.give(replica, now_s)
        assert admission.next(now_s) is not None
        send(admission, replica, now_s)
    probe = QueuedRequest("ann", 10.0, deadline_s=now_s + 2.0)
    assert admission.expected_wait_s(probe, now_s) == pytest.approx(5.1, rel=0.05)
    refused = admission.offer(probe, now_s)
    assert isinstance(refused, Reject)
    assert refused.outcome is Outcome.DEADLINE
    assert refused.retry_after_s == pytest.approx(3.1, abs=0.3)
    # A tenant with nothing waiting gets its turn at once, and so does an urgent request.
    assert admission.offer(QueuedRequest("bob", 10.0, deadline_s=now_s + 2.0), now_s) is WAIT
    assert admission.offer(QueuedRequest("ann", 10.0, Priority.HIGH, deadline_s=now_s + 2.0), now_s) is WAIT


def test_with_no_replica_requests_are_held_and_served_when_one_comes() -> None:
    """Requests of a model without replicas may wait longer than `max_wait_s`, and go when the first replica joins."""
    admission: ModelAdmission = Admission(AdmissionLimits(max_wait_s=1.0, cold_start_timeout_s=100.0))
    requests = [QueuedRequest("ann", 1.0) for _ in range(3)]
    assert [admission.offer(request, 0.0) for request in requests] == [WAIT] * 3
    assert not admission.expire(60.0)
    assert admission.next(60.0) is None
    joined(admission, 70.0)
    assert list(iter(lambda: admission.next(70.0), None)) == requests


def test_held_too_long_is_no_capacity() -> None:
    """When no replica comes within the cold-start timeout, the outcome is `no_capacity`."""
    admission: ModelAdmission = Admission(AdmissionLimits(cold_start_timeout_s=100.0))
    admission.offer(QueuedRequest("ann", 1.0), 0.0)
    ((_, refused),) = admission.expire(100.0)
    assert refused.outcome is Outcome.NO_CAPACITY


def test_a_flood_makes_way_for_other_tenants_and_for_urgent_requests() -> None:
    """In a full room the newest request of the largest tenant gives up its place, first in the least urgent class."""
    admission: ModelAdmission = Admission(AdmissionLimits(), WaitingRoom(max_requests=4))
    full(admission)
    flood = [QueuedRequest("eve", 1.0) for _ in range(4)]
    for request in flood:
        assert admission.offer(request, 0.0) is WAIT
    assert isinstance(admission.offer(QueuedRequest("eve", 1.0), 0.0), Reject)
    assert admission.offer(QueuedRequest("ann", 1.0), 0.0) is WAIT
    assert [request for request, _ in admission.displaced] == flood[3:]
    admission.displaced.clear()
    assert admission.offer(QueuedRequest("eve", 1.0, Priority.HIGH), 0.0) is WAIT
    assert [request for request, _ in admission.displaced] == flood[2:3]
    admission.displaced.clear()
    low = admission.offer(QueuedRequest("bob", 1.0, Priority.LOW), 0.0)
    assert isinstance(low, Reject)
    assert low.outcome is Outcome.QUEUE_FULL
    admission.check_integrity(0.0)


def test_bytes_are_bounded_too() -> None:
    """A body larger than the bytes left is refused, though places are free."""
    admission: ModelAdmission = Admission(AdmissionLimits(), WaitingRoom(max_requests=100, max_bytes=1_000))
    full(admission)
    assert admission.offer(QueuedRequest("ann", 1.0, size_bytes=900), 0.0) is WAIT
    refused = admission.offer(QueuedRequest("ann", 1.0, size_bytes=101), 0.0)
    assert isinstance(refused, Reject)
    assert refused.outcome is Outcome.QUEUE_FULL
    assert admission.offer(QueuedRequest("ann", 1.0, size_bytes=100), 0.0) is WAIT


def test_weights_can_change_while_requests_wait() -> None:
    """After a change of weights, dispatches follow the new ones."""
    admission: ModelAdmission = Admission(AdmissionLimits(), WaitingRoom())
    replica = full(admission)
    for tenant in ("ann", "bob"):
        for _ in range(40):
            admission.offer(QueuedRequest(tenant, 1.0), 0.0)
    admission.set_limits(AdmissionLimits(tenants={"bob": TenantLimits(weight=4.0)}))
    admission.check_integrity(0.0)
    taken = []
    for _ in range(25):
        admission.slots.give(replica, 0.0)
        request = admission.next(0.0)
        assert request is not None
        send(admission, replica)
        taken.append(request.tenant)
    assert 18 <= taken.count("bob") <= 21


def test_requests_end_and_are_put_back_only_from_where_they_are() -> None:
    """To end or put back a request that is not dispatched is an error."""
    admission: ModelAdmission = Admission(AdmissionLimits())
    request = QueuedRequest("ann", 1.0)
    with pytest.raises(ValueError, match="cannot end"):
        admission.ended(request, 0.0)
    with pytest.raises(ValueError, match="put back"):
        admission.put_back(request, 0.0)


# --- without late binding


def test_without_late_binding_nothing_waits() -> None:
    """A thousand requests at once are all admitted, though their one replica reports that it is full."""
    admission: ModelAdmission = Admission(AdmissionLimits(late_binding=False), WaitingRoom(max_requests=0))
    replica = joined(admission)
    for number in range(1_000):
        assert admission.offer(QueuedRequest("ann", 1.0), 0.0) is ADMIT
        send(admission, replica)
        if number % 100 == 0:
            admission.slots.report(replica, LoadReport(number, 8, number, 0, 1.0, 0, 0.0, 0.0), 0.0, backlog_s=60.0)
    view = admission.view(0.0)
    assert (len(admission), view.waiting, view.in_flight, view.refused) == (0, 0, 1_000, 0)
    assert admission.next(0.0) is None
    admission.check_integrity(0.0)


def test_without_late_binding_requests_still_wait_for_the_first_replica() -> None:
    """While the only replica drains, requests are held; they all go at once when it takes requests again."""
    admission: ModelAdmission = Admission(AdmissionLimits(late_binding=False))
    replica = joined(admission)
    admission.drain(replica, 0.0)
    requests = [QueuedRequest("ann", 1.0) for _ in range(300)]
    assert [admission.offer(request, 0.0) for request in requests] == [WAIT] * 300
    assert admission.next(0.0) is None
    admission.drain(replica, 5.0, draining=False)
    assert list(iter(lambda: admission.next(5.0), None)) == requests
    admission.check_integrity(5.0)


# --- figures for others


def test_the_autoscaler_and_people_see_the_same_queue() -> None:
    """The autoscaler's figures and the view agree on the requests that were offered, wait, were refused or left."""
    admission: ModelAdmission = Admission(AdmissionLimits(max_wait_s=10.0), WaitingRoom(max_requests=2))
    assert admission.figures(0.0) == GatewayFigures()
    replica = joined(admission)
    sent = QueuedRequest("ann", 100.0)
    assert admission.offer(sent, 0.0) is ADMIT
    while admission.slots.any_open(0.0):
        admission.slots.take(replica)
        admission.slots.sent(replica, 0.125, 0.0)
    in_flight = replica.in_flight
    waiting = [
        QueuedRequest(tenant, 10.0, priority) for tenant, priority in (("ann", Priority.HIGH), ("bob", Priority.LOW))
    ]
    assert [admission.offer(request, 0.0) for request in waiting] == [WAIT] * 2
    assert isinstance(admission.offer(QueuedRequest("eve", 5.0, Priority.LOW), 0.0), Reject)
    figures = admission.figures(0.0)
    assert figures == GatewayFigures(
        waiting_requests=2,
        waiting_work=20.0,
        offered_requests=4,
        offered_work=125.0,
        offered_work_squared=100.0**2 + 2 * 10.0**2 + 5.0**2,
        dispatched_work=100.0,
        prefill_s=0.125 * in_flight,
        occupancy=in_flight / replica.slots.depth.limit,
    )
    view = admission.view(0.0)
    assert (view.waiting, view.held, view.waiting_work, view.in_flight, view.refused) == (2, 0, 20.0, 1, 1)
    assert [row for row in view.tenants if row[2]] == [("ann", Priority.HIGH, 1), ("bob", Priority.LOW, 1)]
    admission.remove(waiting[1], 1.0)
    admission.ended(sent, 1.0, 150.0)
    admission.leave(replica, 1.0)
    figures, view = admission.figures(1.0), admission.view(1.0)
    # Real work is settled with the tenant only; these sums stay estimates, so that they can be compared.
    assert (figures.offered_work, figures.dispatched_work, figures.occupancy) == (125.0, 100.0, 0.0)
    assert (view.waiting, view.held, view.waiting_work, view.in_flight, view.refused) == (1, 1, 10.0, 0, 1)


# --- words and numbers


def test_priorities_by_name() -> None:
    """Names are read in any case, an unknown one is an error, and a tenant's `max_priority` bounds its requests."""
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
    """After answers of 40 tokens the estimate is 40; the request's own `max_tokens` bounds it."""
    estimate = OutputEstimate()
    assert estimate.tokens(None) == 256.0
    assert estimate.tokens(16) == 16.0
    for _ in range(500):
        estimate.observe(40.0)
    assert estimate.tokens(None) == pytest.approx(40.0, abs=1.0)
    assert work_of(0.0, 0.0) == 1.0
    assert work_of(100.0, 10.0) == 140.0
