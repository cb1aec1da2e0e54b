"""Step times from the grid are the cost model's, for any layout."""

from random import Random

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from deployments.twin.engines.grid_times import GridTimes


@pytest.mark.parametrize(
    ("model", "hardware", "layout"),
    [
        ("llama-3.1-70b", "h100", Layout(4)),
        ("deepseek-r1", "gb300", Layout(1, 1, 8, experts_whole=True)),
        ("gpt-oss-120b", "h100", Layout(2)),
    ],
)
def test_a_step_takes_what_the_cost_model_says(model: str, hardware: str, layout: Layout) -> None:
    """Dense layers, experts shared by eight ranks, attention windows: within 1 % of `step_at`, for random steps."""
    cost = ReplicaCost(known_model(model), ACCELERATORS[hardware], layout, FP8, 8192)
    times, rng = GridTimes(cost), Random(1)
    for _ in range(60):
        each, prefill = rng.choice([1, 3, 77, 300]), rng.choice([0, 13, 900, 8000])
        context, attended = rng.uniform(10, 50_000), rng.uniform(1, 20_000)
        running = each * times.lanes
        chunks = [(0, prefill, attended)] if prefill else []
        told = times.step_s(running, round(context * running), chunks)
        expected = cost.step_at(each, prefill / layout.data, context, attended, prefill).total
        assert told == pytest.approx(expected, rel=0.01)


def test_steps_grow_as_contexts_do() -> None:
    """Each step of the same sequences takes longer by what one more token of context costs each of them."""
    cost = ReplicaCost(known_model("llama-3.1-70b"), ACCELERATORS["h100"], Layout(4), FP8, 8192)
    times = GridTimes(cost)
    later = times.step_s(64, 64 * 3000, []) - times.step_s(64, 64 * 2000, [])
    assert times.growth_s(64, 64 * 2500) == pytest.approx(later / 1000, rel=0.05)


def test_a_pipelines_rounds_take_what_the_planner_says() -> None:
    """Two stages, no prompts: a token takes as long as the planner's mean time between tokens without prefill."""
    cost = ReplicaCost(known_model("llama-3.1-405b"), ACCELERATORS["gb200"], Layout(2, 2), FP8, 8192)
    times = GridTimes(cost)
    slowest = cost.shape.stage_layers(2) * 2 / cost.shape.layers
    expected = cost.step_at(32, 0, 4000, 0).total * slowest
    assert times.lanes == 2
    assert times.step_s(64, 64 * 4000, []) == pytest.approx(expected, rel=0.01)
