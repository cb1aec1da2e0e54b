"""The cost model against MLPerf results that nothing was fitted to, and offline runs by hand."""

import statistics

import pytest

from cluster.foresight.mlperf_rows import (
    HIGHEST_ERROR,
    LOWEST_ERROR,
    MEDIAN_ERROR,
    PUBLISHED_ROWS,
    REASONING,
    PublishedRow,
)
from cluster.foresight.offline_run import answer_lengths, offline_tokens_per_s
from cluster.model_shapes.known_models import known_model
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout

COST = ReplicaCost(known_model("llama-3.1-8b"), ACCELERATORS["h100"], Layout())


def row_of(hardware: str, model: str) -> PublishedRow:
    """Return one of the rows."""
    return next(row for row in PUBLISHED_ROWS if (row.hardware, row.model) == (hardware, model))


def test_published_results_are_foreseen_as_promised() -> None:
    """Half of the errors within 15 %, none above 35 %, and what `rackserve plan` says of them is so."""
    errors = [row.error for row in PUBLISHED_ROWS]
    middle = statistics.median(abs(error) for error in errors)
    assert middle <= 0.15
    assert max(abs(error) for error in errors) <= 0.35
    said = (MEDIAN_ERROR, LOWEST_ERROR, HIGHEST_ERROR)
    assert said == pytest.approx((middle, min(errors), max(errors)), abs=0.006)


def test_memory_bounds_the_batches_the_submissions_ran_with() -> None:
    """GB200's were configured for 512 sequences a GPU and GB300's for 1 280; the model finds room for about as many."""
    gb200, gb300 = row_of("gb200", "deepseek-r1"), row_of("gb300", "deepseek-r1")
    assert gb200.cost.sequences(gb200.work.mean_context) == pytest.approx(512, rel=0.15)
    assert gb300.cost.sequences(gb300.work.mean_context) == pytest.approx(1280, rel=0.25)


def test_a_run_of_equal_answers_that_is_long_is_the_steady_state() -> None:
    """Fifty fillings of the batch: what fills and empties it does not show."""
    work = Work(input_tokens=1000, output_tokens=200)
    steady = COST.steady(64, work).output_tokens_per_s
    assert offline_tokens_per_s(COST, work, 64 * 50, 64) == pytest.approx(steady, rel=0.03)


def test_one_answer_takes_its_prompt_and_its_tokens() -> None:
    """Alone: the prompt's step, then a step for each token."""
    work = Work(input_tokens=1000, output_tokens=200)
    tokens_s = 199 * COST.step(1, 0, work).total + COST.step(1, 1000, work).total
    assert 200 / offline_tokens_per_s(COST, work, 1, 64) == pytest.approx(tokens_s, rel=0.05)


def test_long_answers_at_the_end_cost_throughput() -> None:
    """Of the same mean: the more they differ, the longer a few run with little beside them."""
    found = [
        offline_tokens_per_s(COST, Work(input_tokens=1000, output_tokens=200, output_spread=spread), 640, 64)
        for spread in (0.0, 0.5, 1.0)
    ]
    assert found[0] > found[1] > found[2] > 0.3 * found[0]


def test_answers_have_the_mean_and_the_spread_of_the_work() -> None:
    """DeepSeek-R1's are cut at 20 000 tokens and keep their mean."""
    lengths = answer_lengths(REASONING, 4388, 20_000)
    assert statistics.fmean(lengths) == pytest.approx(REASONING.output_tokens, rel=0.01)
    assert max(lengths) <= 20_000
    assert statistics.pstdev(lengths) / statistics.fmean(lengths) == pytest.approx(REASONING.output_spread, rel=0.1)
