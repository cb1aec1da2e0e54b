"""A mean that forgets: of events, or over time."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.autoscaling.ewma import Ewma, kept


def test_before_the_first_observation_the_mean_is_0() -> None:
    """There is nothing to divide by, and a first guess counts by its weight."""
    assert Ewma().mean == 0.0
    guess = Ewma(10.0, 1.0)
    assert guess.mean == 10.0
    assert guess.observed(20.0, 1.0, 1.0).mean == 15.0


def test_observing_leaves_the_old_mean_as_it_was() -> None:
    """Autoscalers keep states of the past: each observation makes a new one."""
    mean = Ewma(6.0, 2.0)
    assert mean.observed(4.0, 1.0, 0.5) == Ewma(7.0, 2.0)
    assert mean == Ewma(6.0, 2.0)


@pytest.mark.parametrize("memory", [10, 100])
def test_a_mean_over_events_remembers_the_last_ones(memory: int) -> None:
    """Fading by 1 - 1/n remembers about the last n: after n of another value a third of the old one is left."""
    keep = 1.0 - 1.0 / memory
    mean = Ewma()
    for value, events in ((5.0, 20 * memory), (8.0, memory)):
        for _ in range(events):
            mean = mean.observed(value, 1.0, keep)
    assert mean.weight == pytest.approx(memory)
    assert mean.mean == pytest.approx(5.0 * keep**memory + 8.0 * (1.0 - keep**memory))
    assert keep**memory == pytest.approx(exp(-1.0), rel=0.06)


def test_a_rate_over_time_forgets_by_time_not_by_how_often_it_is_asked() -> None:
    """Weighed by seconds, four units a second are four, in steps of a tenth or of two seconds, and idle time counts."""
    for step_s in (0.1, 0.5, 2.0):
        rate = Ewma()
        for _ in range(int(100 / step_s)):
            rate = rate.observed(4.0 * step_s, step_s, kept(step_s, 20.0))
        assert rate.mean == pytest.approx(4.0)
        for _ in range(int(20 / step_s)):
            rate = rate.observed(0.0, step_s, kept(step_s, 20.0))
        assert rate.mean == pytest.approx(4.0 * exp(-1.0), rel=0.02)


def test_what_stays_after_the_memory_is_a_third() -> None:
    """Nothing is lost at once, 1/e is left after the memory, and two spans in a row leave what their sum leaves."""
    assert kept(0.0, 30.0) == 1.0
    assert kept(30.0, 30.0) == pytest.approx(exp(-1.0))
    assert kept(7.0, 30.0) * kept(11.0, 30.0) == pytest.approx(kept(18.0, 30.0))


@given(
    observed=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.01, 100.0), st.floats(0.0, 1.0)), min_size=1),
)
def test_the_mean_lies_between_what_was_observed(observed: list[tuple[float, float, float]]) -> None:
    """Whatever the weights and however it fades."""
    mean = Ewma()
    for value, weight, keep in observed:
        mean = mean.observed(value * weight, weight, keep)
    values = [value for value, _, _ in observed]
    slack = 1e-6 * (1.0 + max(map(abs, values)))
    assert min(values) - slack <= mean.mean <= max(values) + slack
