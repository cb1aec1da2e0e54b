"""Which replicas have room for one more request, from what they report and what was sent since."""

import random
from dataclasses import replace

import pytest

from router.dispatch.replica import Replica
from router.flow_control.slots.engine_depth import FIRST_LIMIT, UNREPORTED_LIMIT
from router.flow_control.slots.slots import Slots
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport


def report(running: int = 0, waiting: int = 0) -> LoadReport:
    """Return a load report of a replica with these running and waiting requests."""
    return LoadReport(1, running, waiting, 0, 0.0, 0, 0.0, 0.0)


def joined(slots: Slots[Replica], name: str = "a") -> Replica:
    """Add a new replica, and return it."""
    replica = Replica(Endpoint(name, "m", "h", 1))
    slots.join(replica)
    return replica


def send(slots: Slots[Replica], replica: Replica, now_s: float, prefill_s: float = 0.0) -> None:
    """Send a request to a replica."""
    slots.take(replica)
    slots.sent(replica, prefill_s, now_s)


def test_a_replica_opens_again_when_its_prefill_is_nearly_done() -> None:
    """A long prompt closes a replica until the prefill ahead of it is less than its depth; others stay open."""
    slots: Slots[Replica] = Slots()
    replicas = [joined(slots, name) for name in ("a", "b")]
    assert slots.with_room(replicas, 0.0) is replicas
    send(slots, replicas[0], 0.0, prefill_s=6.0)
    assert slots.with_room(replicas, 0.0) == replicas[1:]
    send(slots, replicas[1], 0.0, prefill_s=2.0)
    assert not slots.any_open(0.0)
    assert slots.next_opening_s() == pytest.approx(2.0 - 0.25)
    assert not slots.any_open(1.7)
    assert slots.with_room(replicas, 1.76) == replicas[1:]
    assert slots.with_room(replicas, 5.76) == replicas
    slots.report(replicas[0], report(running=1), 5.8, backlog_s=3.0)
    assert slots.with_room(replicas, 5.8) == replicas[1:]
    assert slots.prefill_s == 8.0
    slots.check_integrity(5.8)


def test_prefill_ahead_takes_no_place() -> None:
    """A replica that is closed by its prefill alone still has places, until its limit is reached."""
    slots: Slots[Replica] = Slots()
    replicas = [joined(slots, name) for name in ("a", "b")]
    send(slots, replicas[0], 0.0, prefill_s=6.0)
    assert slots.with_places(replicas, 0.0) == replicas
    assert not slots.has_room_in(replicas[:1], 0.0)
    for _ in range(int(UNREPORTED_LIMIT) - 1):
        send(slots, replicas[0], 0.0)
    assert slots.with_places(replicas, 0.0) == replicas[1:]
    slots.check_integrity(0.0)


def test_other_gateways_requests_take_room_too() -> None:
    """Requests in a report beyond this gateway's own are other gateways', and they count against the limit."""
    slots: Slots[Replica] = Slots()
    replica = joined(slots)
    slots.report(replica, report(running=int(FIRST_LIMIT) - 1), 0.0)
    assert replica.slots.others == FIRST_LIMIT - 1
    assert slots.any_open(0.0)
    send(slots, replica, 0.0)
    # The report doubled the limit, since the engine took all. The others' seven count: nine fit here, one was sent.
    for _ in range(int(replica.slots.depth.limit) - int(FIRST_LIMIT)):
        assert slots.any_open(0.0)
        send(slots, replica, 0.0)
    assert not slots.any_open(0.0)
    slots.give(replica, 0.0)
    assert slots.any_open(0.0)


def test_requests_on_their_way_are_not_taken_for_others() -> None:
    """Of six requests in a report, three are this gateway's if two of its five are unreported; so three are others'."""
    slots: Slots[Replica] = Slots()
    replica = joined(slots)
    for _ in range(5):
        send(slots, replica, 0.0)
    slots.report(replica, report(running=6), 0.1, unreported=2)
    assert replica.slots.others == 3
    slots.report(replica, report(running=6), 0.2)
    assert replica.slots.others == 1


def test_gateways_come_to_equal_shares_of_a_replica() -> None:
    """One gateway has all twenty places when two more come; soon each has about a third, and no place is idle."""
    gateways: list[Slots[Replica]] = [Slots() for _ in range(3)]
    at = [joined(slots) for slots in gateways]
    chance = random.Random(1)
    for tenth in range(300):
        now_s = tenth / 10
        busy = 1 + min(2, tenth // 100)
        sent = sum(replica.in_flight for replica in at)
        load = replace(
            report(running=min(20, sent), waiting=max(0, sent - 20)), gateways=sum(r.in_flight > 0 for r in at)
        )
        for slots, replica in list(zip(gateways, at, strict=True))[:busy]:
            slots.report(replica, load, now_s, wanted=True)
        for _ in range(10):  # a tenth of a second; the gateway whose request ends sees the free place first
            for number, (slots, replica) in enumerate(zip(gateways, at, strict=True)):
                if replica.in_flight and chance.random() < replica.in_flight / 20:
                    slots.give(replica, now_s)
                while number < busy and slots.any_open(now_s):
                    send(slots, replica, now_s)
        if tenth % 100 == 99:
            shares = [replica.in_flight for replica in at[:busy]]
            assert sum(replica.in_flight for replica in at) >= 20
            assert min(shares) >= 0.6 * max(shares)


def test_a_replica_that_drains_or_is_gone_has_no_room() -> None:
    """A draining replica has room once it takes requests again; one that is gone never has, though requests end."""
    slots: Slots[Replica] = Slots()
    replica = joined(slots)
    send(slots, replica, 0.0)
    slots.set_draining(replica, draining=True, now_s=0.0)
    assert (slots.taking, slots.any_open(0.0), slots.occupancy()) == (0, False, 0.0)
    slots.set_draining(replica, draining=False, now_s=0.0)
    assert (slots.taking, slots.any_open(0.0)) == (1, True)
    slots.leave(replica)
    slots.give(replica, 1.0)
    assert (slots.taking, slots.any_open(1.0), replica.in_flight) == (0, False, 0)
    slots.check_integrity(1.0)


def test_without_late_binding_a_replica_always_has_room() -> None:
    """Its limit, the prefill ahead of it and its reports do not close it; only draining does."""
    slots: Slots[Replica] = Slots(late_binding=False)
    replicas = [joined(slots, name) for name in ("a", "b")]
    for number in range(2 * int(UNREPORTED_LIMIT)):
        send(slots, replicas[0], 0.0, prefill_s=1.0)
        if number % 100 == 0:
            slots.report(replicas[0], report(running=4, waiting=number), 0.1, backlog_s=900.0, wanted=True)
        assert slots.with_room(replicas, 0.1) is replicas
        assert slots.next_opening_s() is None
    assert replicas[0].slots.depth.limit < replicas[0].in_flight
    slots.silent(replicas[0], 0.2)
    slots.give(replicas[0], 0.2)
    assert slots.with_places(replicas, 0.2) is replicas
    assert slots.has_room_in(replicas[:1], 0.2)
    slots.set_draining(replicas[0], draining=True, now_s=0.2)
    assert slots.with_room(replicas, 0.2) == slots.with_places(replicas, 0.2) == replicas[1:]
    slots.check_integrity(0.2)


def test_a_bound_of_its_own_holds_whatever_is_learned() -> None:
    """At `max_requests` a replica is closed; it opens as one of its requests ends, or as its bound is raised."""
    for late_binding in (True, False):
        slots: Slots[Replica] = Slots(late_binding=late_binding)
        replica = Replica(Endpoint("a", "m", "h", 1, max_requests=2))
        slots.join(replica)
        send(slots, replica, 0.0)
        assert slots.any_open(0.0)
        send(slots, replica, 0.0)
        assert not slots.any_open(0.0)
        assert slots.next_opening_s() is None
        slots.check_integrity(0.0)
        slots.give(replica, 1.0)
        assert slots.any_open(1.0)
        send(slots, replica, 1.0)
        slots.report(replica, report(running=2), 2.0)
        assert not slots.any_open(2.0)
        slots.set_most(replica, 3, 2.0)
        assert slots.any_open(2.0)
        slots.set_most(replica, 0, 2.0)
        slots.check_integrity(2.0)


def test_a_bound_for_streams_says_when_requests_go_and_not_where() -> None:
    """A replica at its bound is not open; while another is, whoever's prompt is cached there still has a place."""
    slots: Slots[Replica] = Slots()
    replicas = [joined(slots, name) for name in ("a", "b")]
    for _ in range(3):
        send(slots, replicas[0], 0.0)
    slots.keep(replicas[0], 3.0, 0.0)
    assert slots.with_room(replicas, 0.0) == replicas[1:]
    assert slots.with_places(replicas, 0.0) == replicas
    assert not replicas[0].slots.has_place(3)
    send(slots, replicas[1], 0.0)
    slots.keep(replicas[1], 1.0, 0.0)
    assert not slots.any_open(0.0)
    slots.give(replicas[1], 1.0)
    assert slots.with_room(replicas, 1.0) == replicas[1:]
    slots.check_integrity(1.0)
