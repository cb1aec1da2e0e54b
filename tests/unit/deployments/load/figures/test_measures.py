"""Figures of a run."""

import pytest

from deployments.load.client.record import Counted
from deployments.load.figures.measures import SloLimits, figures_of
from tests.unit.deployments.load.figures.runs import record


def test_goodput_counts_what_is_whole_and_within_both_limits() -> None:
    """Of five requests one is late at first, one is slow after it, and one failed: two of five in 10 s are good."""
    records = [record(), record(), record(ttft_s=0.6), record(tpot_s=0.2), record(problem="HTTP 500: no")]
    figures = figures_of(records, None, 10.0, SloLimits(0.5, 0.05))
    assert (figures.requests, figures.answered) == (5, 4)
    assert figures.problems == {"HTTP 500: no": 1}
    assert figures.within_slo == pytest.approx(0.4)
    assert figures.goodput_per_s == pytest.approx(0.2)
    assert figures.requests_per_s == pytest.approx(0.4)


def test_without_limits_every_whole_answer_is_good() -> None:
    """Goodput without an SLO is the rate of whole answers."""
    figures = figures_of([record(ttft_s=100.0), record(problem="cut")], None, 10.0, SloLimits())
    assert figures.goodput_per_s == figures.requests_per_s == pytest.approx(0.1)


def test_tpot_is_over_the_tokens_after_the_first() -> None:
    """11 tokens have ten times between them; an answer of one token has none, and does not fail a limit of it."""
    figures = figures_of([record(tpot_s=0.02), record(tokens=1)], None, 10.0, SloLimits(None, 0.03))
    assert figures.tpot_s is not None
    assert figures.tpot_s.count == 1
    assert figures.tpot_s.mean == pytest.approx(0.02)
    assert figures.within_slo == 1.0


def test_the_cached_share_is_of_tokens_and_not_made_up() -> None:
    """A long prompt weighs more than a short one; where nobody says what was cached there is no share."""
    told = figures_of(
        [record(prompt_tokens=900, cached_tokens=900), record(prompt_tokens=100, cached_tokens=0)],
        None,
        1.0,
        SloLimits(),
    )
    assert told.cached_share == pytest.approx(0.9)
    untold = figures_of(
        [record(prompt_tokens=None, cached_tokens=None, counted=Counted.EVENTS)], None, 1.0, SloLimits()
    )
    assert untold.cached_share is None
    assert untold.prompt_tokens is None
    assert untold.total_tokens_per_s is None
    assert untold.counted == {"events": 1}


def test_the_warm_up_is_left_out() -> None:
    """Requests of the warm-up change no figure."""
    alone = figures_of([record()], None, 10.0, SloLimits())
    warmed = figures_of([record(ttft_s=9.0, is_warm_up=True), record()], None, 10.0, SloLimits())
    assert warmed == alone
