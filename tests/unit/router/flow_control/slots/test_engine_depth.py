"""How much one engine may be given at once, as it is learned from load reports."""

import pytest

from router.dispatch.replica import Replica
from router.flow_control.slots.engine_depth import FIRST_LIMIT, MAX_DEPTH_S, MIN_DEPTH_S, UNREPORTED_LIMIT, EngineDepth
from router.flow_control.slots.slots import Slots
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport


def report(running: int = 0, waiting: int = 0) -> LoadReport:
    """Return a load report of a replica with these running and waiting requests."""
    return LoadReport(1, running, waiting, 0, 0.0, 0, 0.0, 0.0)


def fill(slots: Slots[Replica], replica: Replica, now_s: float, prefill_s: float = 0.0) -> int:
    """Send requests until no replica has room; return how many."""
    sent = 0
    while slots.any_open(now_s):
        slots.take(replica)
        slots.sent(replica, prefill_s, now_s)
        sent += 1
    return sent


def test_a_limit_follows_what_the_engine_takes() -> None:
    """The limit doubles while the engine takes all, falls to what runs when requests wait inside, then grows slowly."""
    depth = EngineDepth()
    assert depth.limit == UNREPORTED_LIMIT
    depth.first_report()
    assert depth.limit == FIRST_LIMIT
    for _ in range(4):
        depth.observe(now_s=0.0, running=int(depth.limit), waiting=0, backlog_s=0.0, wanted=True)
    assert depth.limit == FIRST_LIMIT * 16
    for now_s in (0.0, 0.1):
        depth.observe(now_s=now_s, running=40, waiting=30, backlog_s=0.0, wanted=True)
    assert depth.limit == pytest.approx(43.0)
    depth.observe(now_s=0.2, running=42, waiting=1, backlog_s=0.0, wanted=True)
    assert depth.limit == pytest.approx(43.0)
    depth.observe(now_s=0.3, running=43, waiting=0, backlog_s=0.0, wanted=True)
    assert depth.limit == pytest.approx(43.0 * 1.05)


def test_requests_that_came_since_the_last_step_are_no_queue() -> None:
    """At 100 requests/s some always wait for the next step, and still the limit grows until the batch is full."""
    slots: Slots[Replica] = Slots()
    replica = Replica(Endpoint("a", "m", "h", 1))
    slots.join(replica)
    slots.report(replica, report(), 0.0)
    fill(slots, replica, 0.0)
    now_s, batch = 0.0, 32
    for _ in range(100):
        now_s += 0.1
        for _ in range(10):
            slots.give(replica, now_s)
            fill(slots, replica, now_s)
        here = replica.in_flight
        running = max(0, min(batch, here - 4))
        slots.report(replica, report(running=running, waiting=here - running), now_s, wanted=True)
    assert batch <= replica.slots.depth.limit <= batch + 15


def test_depth_grows_when_an_engine_runs_dry_and_shrinks_otherwise() -> None:
    """The depth grows to its maximum while an engine has nothing to prefill, and shrinks to its minimum otherwise."""
    depth = EngineDepth()
    for _ in range(20):
        depth.observe(now_s=0.0, running=5, waiting=0, backlog_s=0.0, wanted=True)
    assert depth.depth_s == 2.0
    for _ in range(1_000):
        depth.observe(now_s=0.0, running=5, waiting=0, backlog_s=0.3, wanted=True)
    assert depth.depth_s == MIN_DEPTH_S


def test_what_fits_into_the_next_step_is_given_at_once() -> None:
    """The depth is at least a whole step of 0.8 s, but never above `MAX_DEPTH_S`."""
    slots: Slots[Replica] = Slots()
    replica = Replica(Endpoint("a", "m", "h", 1))
    slots.join(replica)
    slots.report(replica, report(), 0.0, step_s=0.8)
    assert fill(slots, replica, 0.0, prefill_s=0.1) == FIRST_LIMIT
    depth = replica.slots.depth
    for number in range(1_000):
        depth.observe(now_s=number, running=5, waiting=0, backlog_s=0.3, wanted=True, step_s=0.8)
    assert depth.depth_s == 0.8
    depth.observe(now_s=1_000, running=5, waiting=0, backlog_s=0.3, wanted=True, step_s=60.0)
    assert depth.depth_s == MAX_DEPTH_S


def test_a_burst_an_engine_works_off_is_no_full_batch() -> None:
    """While an engine takes in more of a burst at each step the limit stays; once it takes in no more, it falls."""
    depth = EngineDepth()
    depth.first_report()
    depth.observe(now_s=0.0, running=16, waiting=0, backlog_s=0.0, wanted=True)
    limit = depth.limit
    for now_s, running in ((0.1, 0), (0.3, 3), (0.4, 3), (0.6, 9), (0.8, 9), (0.9, 16)):
        depth.observe(now_s=now_s, running=running, waiting=30 - running, backlog_s=0.5, wanted=True, step_s=0.3)
        assert depth.limit == limit
    depth.observe(now_s=1.2, running=16, waiting=14, backlog_s=0.5, wanted=True, step_s=0.3)
    assert depth.limit == limit
    depth.observe(now_s=1.5, running=15, waiting=15, backlog_s=0.5, wanted=True, step_s=0.3)
    assert depth.limit == pytest.approx(15 + 1.75)


def test_requests_behind_a_prompt_of_many_steps_are_no_full_batch() -> None:
    """Steps of 0.04 s, prompts of 0.5 s: three requests wait for two reports until the prompts before are computed."""
    depth = EngineDepth()
    depth.first_report()
    for now_s, backlog_s in ((0.25, 0.8), (0.5, 0.6), (0.75, 0.3)):
        depth.observe(now_s=now_s, running=2, waiting=3, backlog_s=backlog_s, wanted=True, step_s=0.04)
        assert depth.limit == FIRST_LIMIT
    depth.observe(now_s=1.25, running=2, waiting=3, backlog_s=0.3, wanted=True, step_s=0.04)
    assert depth.limit == pytest.approx(2 + 1.1)


def test_an_engine_has_places_for_what_it_runs() -> None:
    """A limit that was learned too low is forgotten with the first report of more that run and none that wait."""
    depth = EngineDepth()
    depth.first_report()
    for now_s in (0.0, 1.0):
        depth.observe(now_s=now_s, running=2, waiting=9, backlog_s=0.0, wanted=True)
    assert depth.limit == pytest.approx(2 + 1.1)
    depth.observe(now_s=2.0, running=40, waiting=0, backlog_s=0.0, wanted=True)
    assert 40 < depth.limit <= 42
