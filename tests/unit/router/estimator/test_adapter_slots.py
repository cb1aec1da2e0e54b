"""What a gateway expects of the adapters that its replicas have loaded."""

import pytest

from router.estimator.adapter_slots import FIRST_LOAD_S, AdapterSlots, AdapterUse
from router.replicas.adapter_report import AdapterReport

KNOWN = frozenset({"a", "b", "c", "d"})


def _told(slots: AdapterSlots, *held: str, room: int = 2, load_s: float = 0.2) -> None:
    slots.reported(AdapterReport(KNOWN, held, room, load_s=load_s, loads=len(held)))


def test_a_burst_finds_what_its_first_request_loads() -> None:
    """Requests sent before the next report count on the adapter that the first of them loads there."""
    slots = AdapterSlots(AdapterUse())
    _told(slots)
    assert slots.weigh("a", 1.0) == (0.2, 0.0)
    assert slots.sent("a", 1.0) == 0.2
    assert slots.weigh("a", 1.0) == (0.0, 0.0)
    assert slots.sent("a", 1.0) == 0.0
    _told(slots)  # a report from before the load
    assert slots.weigh("a", 1.1) == (0.0, 0.0)
    slots.ended("a", 1.0, 2.0)
    slots.ended("a", 1.0, 2.0)
    _told(slots)
    assert slots.weigh("a", 2.0)[0] == 0.2, "no request uses it, and the replica does not list it"
    slots.check_integrity()


def test_a_load_is_timed_by_the_replicas() -> None:
    """Before any has told, a load counts a guess; then what this one told, or else what another one did."""
    use = AdapterUse()
    slots, other = AdapterSlots(use), AdapterSlots(use)
    assert slots.weigh("a", 0.0) == (FIRST_LOAD_S, 0.0)
    _told(other, "b", load_s=0.7)
    assert slots.weigh("a", 0.0) == (0.7, 0.0)
    _told(slots, "b", load_s=0.1)
    assert slots.weigh("a", 0.0) == (0.1, 0.0)


def test_pushing_out_costs_what_comes_back() -> None:
    """The more often the one that would go is asked for, the dearer its slot; not if another replica has it."""
    use = AdapterUse()
    slots, other = AdapterSlots(use), AdapterSlots(use)
    for each in (slots, other):
        _told(each, "a", "b")
    for at_s in range(60):
        slots.sent("a", float(at_s))
        slots.ended("a", float(at_s), at_s + 0.5)
    slots.sent("b", 60.0)
    slots.ended("b", 60.0, 60.5)
    assert slots.weigh("c", 61.0) == (0.2, 0.0), "another replica has `a`"
    other.left()
    load_s, price_s = slots.weigh("c", 61.0)
    assert load_s == 0.2
    assert price_s == pytest.approx(0.2), "`a` is asked for each second and nothing is loaded: it will come back"
    for at_s in range(61, 121):  # now the other way round: `b` is the one that is asked for
        slots.sent("a", float(at_s))
        slots.ended("a", float(at_s), at_s + 0.1)
    assert slots.weigh("c", 121.0)[1] <= price_s


def test_a_slot_is_waited_for_while_all_are_in_use() -> None:
    """With every adapter in use there is nothing to push out: a request waits for about as long as requests last."""
    slots = AdapterSlots(AdapterUse())
    _told(slots)
    slots.sent("d", 0.0)
    slots.ended("d", 0.0, 4.0)  # requests last four seconds
    slots.sent("a", 10.0)
    slots.sent("b", 11.0)
    assert slots.weigh("c", 12.0) == pytest.approx((0.2, 2.0)), "`a` ends at 14"
    slots.sent("c", 12.0)
    assert slots.weigh("d", 12.0) == pytest.approx((0.2, 3.0)), "`c` takes the place of `a`; `b` ends at 15"
    slots.check_integrity()


def test_loads_are_made_one_after_the_other() -> None:
    """Each load that is sent there is waited for, until its first token shows that it was quicker than expected."""
    slots = AdapterSlots(AdapterUse())
    _told(slots)
    assert slots.sent("a", 10.0) == 0.2
    assert slots.sent("b", 10.1) == 0.2
    assert slots.loading_until_s == pytest.approx(10.4)
    slots.loaded(10.15)
    assert slots.loading_until_s == pytest.approx(10.4), "another one is under way"
    slots.loaded(10.25)
    assert slots.loading_until_s == 10.25
    slots.check_integrity()


def test_what_is_not_known_is_not_served() -> None:
    """A replica that has told its adapters gets no requests for others; one that has told nothing may have them all."""
    slots = AdapterSlots(AdapterUse())
    assert slots.may_serve("z")
    _told(slots, "a")
    assert slots.may_serve("b")
    assert not slots.may_serve("z")


def test_adapters_that_are_gone_leave_nothing() -> None:
    """Counts of adapters that are no longer served are dropped: names that come and go do not add up."""
    use = AdapterUse()
    slots = AdapterSlots(use)
    for name in ("a", "b"):
        slots.sent(name, 0.0)
        slots.ended(name, 0.0, 1.0)
    use.keep_only({"b"})
    assert use.requests == {"b": 1}
    assert use.comes_back("a", 1.0) == 0.0
    assert use.comes_back("b", 1.0) > 0.0
