"""A replica that ran few requests may run more than its bound for a while."""

import pytest

from router.flow_control.slots.running_mean import CREDIT, LIFE_SHARE, RunningMean


def test_the_mean_is_that_of_about_half_a_streams_life() -> None:
    """Requests that have just come hardly count; those that run for a whole life count fully."""
    mean = RunningMean()
    mean.changed(40.0, 10.0, 100.0)
    mean.changed(41.0, 10.0, 100.1)
    assert mean.mean == pytest.approx(0.8, abs=0.1)
    mean.changed(41.0, 10.0, 130.0)
    assert mean.mean == pytest.approx(41.0, rel=0.01)


def test_nobody_may_run_beyond_the_bound_where_the_mean_is_at_it() -> None:
    """Nor does a mean above it make the bound smaller: those there have to end first, whatever is done."""
    mean = RunningMean()
    mean.changed(30.0, 1.0, 0.0)
    mean.changed(30.0, 1.0, 100.0)
    assert mean.beyond(30.0) == pytest.approx(30.0)
    assert mean.beyond(20.0) == 20.0


def test_what_is_used_beyond_the_bound_was_saved_before() -> None:
    """As many as may run do, from a mean of 10 below 30: in the half of a life that is left 20 more ran at most."""
    mean, now_s, step_s, life_s = RunningMean(), 0.0, 0.01, 10.0
    mean.changed(10.0, life_s, now_s)
    now_s += 100.0
    excess = 0.0
    mean.changed(10.0, life_s, now_s)
    assert mean.beyond(30.0) == pytest.approx(30.0 + CREDIT * 20.0)
    for _ in range(round(LIFE_SHARE * life_s / step_s)):
        running = mean.beyond(30.0)
        mean.changed(running, life_s, now_s)
        now_s += step_s
        excess += (running - 30.0) * step_s
    assert excess / (LIFE_SHARE * life_s) == pytest.approx(20.0 * CREDIT / (1 + CREDIT), rel=0.05)


def test_a_clock_that_stands_changes_nothing() -> None:
    """Two changes at one time, or one with a life of 0, end in what runs now."""
    mean = RunningMean()
    mean.changed(5.0, 10.0, 1.0)
    mean.changed(9.0, 10.0, 1.0)
    assert mean.mean < 9.0
    mean.changed(9.0, 0.0, 2.0)
    assert mean.mean == 9.0
