"""Step times for the simulator are the cost model's, for any step."""

from random import Random

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from deployments.simulator.disaggregation.step_times import StepTimes


@pytest.mark.parametrize(
    ("model", "hardware", "layout"),
    [
        ("llama-3.1-70b", "h100", Layout(4)),
        ("llama-3.1-8b", "l40s", Layout(1)),
        ("qwen3-235b-a22b-fp8", "gb300", Layout(4)),
        ("deepseek-r1", "gb300", Layout(8)),
    ],
)
def test_a_step_takes_what_the_cost_model_says(model: str, hardware: str, layout: Layout) -> None:
    """Dense models and experts, grouped heads and latents; decode, prefill and both; short and long contexts."""
    cost = ReplicaCost(known_model(model), ACCELERATORS[hardware], layout, FP8, 2048)
    times, rng = StepTimes(cost), Random(1)
    for _ in range(100):
        decode, prefill = rng.choice([0, 1, 7, 300]), rng.choice([0, 1, 100, 2048])
        context, prefill_context = rng.uniform(1, 100_000), rng.uniform(1, 100_000)
        expected = cost.step_at(decode, prefill, context, prefill_context).total
        told = times.tokens_s(decode, prefill)
        told += times.decode_s * decode * context + times.prefill_s * prefill * prefill_context
        assert told == pytest.approx(expected, rel=1e-9)


def test_a_step_for_a_mean_request_is_the_planners() -> None:
    """What the planner computes from mean lengths is the same function: it passes their mean contexts on."""
    cost = ReplicaCost(known_model("llama-3.1-70b"), ACCELERATORS["h100"], Layout(4))
    work = Work(3000, 400, prefix_hit=0.5)
    assert cost.step(32, 128, work) == cost.step_at(32, 128, work.mean_context, work.mean_prefill_context)


def test_a_prompt_alone_takes_the_sum_of_its_chunks() -> None:
    """10 000 tokens of which 2 000 are cached, in steps of 4 096: two chunks, each attending to all before it."""
    cost = ReplicaCost(known_model("llama-3.1-70b"), ACCELERATORS["h100"], Layout(4), FP8, 4096)
    first = cost.step_at(0, 4096, 0.0, 2000 + 2048).total
    second = cost.step_at(0, 3904, 0.0, 6096 + 1952).total
    assert StepTimes(cost).prompt_s(10_000, 4096, cached=2000) == pytest.approx(first + second)


def test_what_is_not_proportional_to_the_context_is_refused() -> None:
    """Attention windows, and steps of several ranks or stages that overlap."""
    with pytest.raises(ValueError, match="gpt-oss-120b has layers whose time"):
        StepTimes(ReplicaCost(known_model("gpt-oss-120b"), ACCELERATORS["h100"], Layout(2)))
    with pytest.raises(ValueError, match="several ranks or stages"):
        StepTimes(ReplicaCost(known_model("llama-3.1-70b"), ACCELERATORS["h100"], Layout(2, 2)))
