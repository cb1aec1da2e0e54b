"""Fading rates: counts fade together with the time in which they were counted."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.estimator.learning.fading_rates import FadingRates


def _counted(rates: FadingRates, per_s: int, from_s: int, until_s: int) -> None:
    """Count `per_s` events a second, evenly, in the first count."""
    for step in range(per_s * (until_s - from_s)):
        rates.fade(from_s + step / per_s)
        rates.counts[0] += 1.0


@pytest.mark.parametrize("seconds", [20, 60, 600])
def test_an_even_rate_is_found_however_long_it_has_lasted(seconds: int) -> None:
    """Ten events a second give a rate of ten, after a third of the memory as after ten times the memory."""
    rates = FadingRates(60.0)
    _counted(rates, 10, 0, seconds)
    assert rates.per_s(seconds, 1.0) == pytest.approx(10.0, rel=0.02)


def test_after_the_memory_a_third_is_left() -> None:
    """A count fades to 1/e in `memory_s`, and so does the weight of an older rate beside a newer one."""
    rates = FadingRates(60.0)
    rates.fade(0.0)
    rates.counts[0] = 100.0
    rates.fade(60.0)
    assert rates.counts[0] == pytest.approx(100.0 * exp(-1.0))
    rates = FadingRates(60.0)
    _counted(rates, 10, 0, 1_000)
    _counted(rates, 40, 1_000, 1_060)
    assert rates.per_s(1_060.0, 1.0) == pytest.approx(10.0 * exp(-1.0) + 40.0 * (1.0 - exp(-1.0)), rel=0.02)


def test_the_first_counts_are_spread_over_some_time() -> None:
    """One event at the first moment gives a finite rate; the span grows with time, up to the memory."""
    rates = FadingRates(60.0)
    assert rates.per_s(0.0, 5.0) == 0.0
    rates.fade(0.0)
    rates.counts[0] += 1.0
    assert rates.per_s(0.0, 5.0) == 1.0 / 5.0
    assert rates.span_s(5.0) == 5.0
    rates.fade(30.0)
    assert rates.span_s(5.0) == pytest.approx(60.0 * (1.0 - exp(-0.5)))
    rates.fade(10_000.0)
    assert rates.span_s(5.0) == pytest.approx(60.0)


def test_all_counts_fade_over_the_same_time() -> None:
    """Two counts that grow in a fixed proportion keep it while they fade."""
    rates = FadingRates(60.0, 2)
    for second in range(100):
        rates.fade(float(second))
        rates.counts[0] += 1.0
        rates.counts[1] += 0.25
    assert rates.counts[1] == pytest.approx(0.25 * rates.counts[0])


@given(times_s=st.lists(st.floats(0.0, 500.0), min_size=1, max_size=30), asked_s=st.floats(0.0, 1_000.0))
def test_asking_for_a_rate_does_not_let_time_pass(times_s: list[float], asked_s: float) -> None:
    """`per_s` changes nothing, and returns the same rate as after `fade` to that time."""
    rates = FadingRates(30.0)
    for at_s in times_s:  # in any order: an earlier time changes nothing
        rates.fade(at_s)
        rates.counts[0] += 1.0
    before = (list(rates.counts), rates.span_s(0.0))
    per_s = rates.per_s(asked_s, 1.0)
    assert rates.per_s(asked_s, 1.0) == per_s
    assert (rates.counts, rates.span_s(0.0)) == before
    rates.fade(asked_s)
    assert rates.per_s(asked_s, 1.0) == pytest.approx(per_s)
    assert 0.0 <= per_s <= len(times_s)
