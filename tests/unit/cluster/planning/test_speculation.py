"""Speculative decoding in plans: the tokens of a step, what drafts take, and when it is worth it."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import SpecError
from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.model_shape import ModelShape
from cluster.planning.answer import cautions, cluster_file_entry, plan_data
from cluster.planning.option import assess, speculation_trade
from cluster.planning.plan_file import PLAN_FILE, PlanFile
from cluster.planning.planner import Plan, plan
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import weights_on_one_gpu
from cluster.replica_cost.speculation import SpeculativePlan, draft_plan, tokens_per_step
from cluster.spec.cluster_file import from_data

LLAMA_8B, LLAMA_70B, R1 = known_model("llama-3.1-8b"), known_model("llama-3.1-70b"), known_model("deepseek-r1")
H100 = ACCELERATORS["h100"]
CHAT = Work(input_tokens=1000, output_tokens=200)
FOUR = Layout(4)


def _asked(method: str, tokens: int = 4, acceptance: float = 0.8, model: str = "") -> SpeculativePlan:
    return SpeculativePlan.model_validate(
        {"method": method, "tokens": tokens, "acceptance": acceptance, "model": model}
    )


def _question(speculative: dict[str, Any] | None, tpot_s: float = 0.02) -> PlanFile:
    data = {
        "model": "llama-3.1-70b",
        "hardware": "h100",
        "workload": {"input_tokens": 1000, "output_tokens": 400, "requests_per_s": 5},
        "slo": {"ttft_s": 2.0, "tpot_s": tpot_s},
        **({"speculative": speculative} if speculative else {}),
    }
    return PLAN_FILE.from_data(data, "test")


def _planned(speculative: dict[str, Any] | None) -> Plan:
    draft = LLAMA_8B if speculative and speculative.get("model") else None
    return plan(_question(speculative), LLAMA_70B, draft=draft)


def test_tokens_of_a_step_are_those_of_the_formula() -> None:
    """(1 - a^(k+1)) / (1 - a), and its limits: nothing right is one token, all right the whole draft and one more."""
    assert tokens_per_step(0.8, 4) == pytest.approx((1 - 0.8**5) / (1 - 0.8))
    assert tokens_per_step(0.0, 4) == 1
    assert tokens_per_step(1.0, 4) == 5


def test_a_step_that_memory_bounds_takes_little_longer() -> None:
    """One sequence on one GPU: five tokens read the same weights as one, so 3.4 tokens come in the time of one."""
    cost = ReplicaCost(LLAMA_8B, H100, Layout())
    drafting = replace(cost, draft=draft_plan(_asked("ngram"), LLAMA_8B, None))
    plain, speculating = cost.steady(1, CHAT), drafting.steady(1, CHAT)
    assert speculating.step.total == pytest.approx(plain.step.total, rel=0.05)
    assert plain.tpot_s / speculating.tpot_s == pytest.approx(tokens_per_step(0.8, 4), rel=0.05)
    assert drafting.memory == cost.memory


def test_a_step_that_arithmetic_bounds_takes_as_many_times_as_long() -> None:
    """A large batch: five tokens a sequence take nearly five times as long, so few right drafts make it slower."""
    cost, batch = ReplicaCost(LLAMA_8B, H100, Layout()), 2_000
    work = Work(input_tokens=20, output_tokens=200)
    drafting = replace(cost, draft=draft_plan(_asked("ngram", acceptance=0.2), LLAMA_8B, None))
    plain, speculating = cost.step(batch, 0, work), drafting.step(batch, 0, work)
    assert speculating.mlp / plain.mlp == pytest.approx(5, rel=0.05)
    assert drafting.steady(batch, work).output_tokens_per_s < cost.steady(batch, work).output_tokens_per_s


def test_a_draft_model_takes_its_weights_cache_and_time() -> None:
    """Weights on each GPU, KV blocks for each sequence, and as many of its own steps as there are drafted tokens."""
    cost = ReplicaCost(LLAMA_70B, H100, FOUR)
    drafting = replace(cost, draft=draft_plan(_asked("draft_model", model="x"), LLAMA_70B, LLAMA_8B))
    weights = weights_on_one_gpu(LLAMA_8B, FOUR)
    assert drafting.memory.weights - cost.memory.weights == pytest.approx(weights)
    assert cost.memory.kv_cache - drafting.memory.kv_cache == pytest.approx(weights)
    assert drafting.sequences(4000) < cost.sequences(4000) * drafting.memory.kv_cache / cost.memory.kv_cache
    least_s = 4 * weights / (H100.memory_bytes_per_s * cost.coefficients.weight_memory)
    assert least_s < drafting.step(1, 0, CHAT).drafting < 3 * least_s
    prompt = drafting.step(0, 1000, CHAT)
    assert 0 < prompt.drafting < prompt.total


@pytest.mark.parametrize("method", ["eagle", "mtp"])
def test_a_head_is_one_layer(method: str) -> None:
    """Of the model itself, beside the model's own tables: of DeepSeek's 61 layers one, with its experts."""
    layout = Layout(data=8, experts_whole=True)
    cost = ReplicaCost(R1, ACCELERATORS["gb200"], layout)
    drafting = replace(cost, draft=draft_plan(_asked(method, tokens=1), R1, None))
    extra = drafting.memory.weights - cost.memory.weights
    assert 0.9 < extra / (cost.memory.weights / R1.layers) < 1.15
    assert 0.5 / R1.layers < drafting.step(16, 0, CHAT).drafting / cost.step(16, 0, CHAT).total < 3 / R1.layers


@pytest.mark.parametrize(
    ("shape", "tokens", "why"),
    [
        (LLAMA_70B, 1, "llama-3.1-70b has no layers for it"),
        (replace(R1, mtp_layers=2), 3, "a multiple of the model's 2 layers for it: 3 is not"),
        (R1, 3, ""),
        (replace(R1, mtp_layers=2), 1, ""),
    ],
)
def test_a_model_drafts_with_layers_that_it_has(shape: ModelShape, tokens: int, why: str) -> None:
    """Where it has none, or vLLM would refuse so many tokens, the plan is without drafts and says why."""
    draft = draft_plan(_asked("mtp", tokens), shape, None)
    assert why in draft.why_not(FOUR)
    assert bool(draft.why_not(FOUR)) == bool(why)


def test_a_plan_says_that_a_model_has_no_layers_for_drafts() -> None:
    """The plan is the one without speculation."""
    answer = _planned({"method": "mtp", "tokens": 1, "acceptance": 0.9})
    assert answer.best is not None
    assert answer.best.draft is None
    assert answer.speculation is not None
    assert answer.speculation.why.startswith("does not speculate by mtp: llama-3.1-70b has no layers for it")
    assert "speculative" not in (cluster_file_entry(answer) or {})


def test_a_plan_speculates_where_that_serves_more_and_says_why() -> None:
    """Within a tight TPOT, right drafts allow larger batches and so fewer GPUs; the cluster file's entry has them."""
    without = _planned(None)
    answer = _planned({"method": "ngram", "tokens": 4, "acceptance": 0.8})
    assert answer.best is not None
    assert answer.best.draft is not None
    assert answer.gpus <= without.gpus
    assert answer.best.steady is not None
    assert answer.best.steady.tpot_s <= 0.02
    trade = answer.speculation
    assert trade is not None
    assert trade.tokens_per_s > trade.plain_tokens_per_s
    assert trade.why.startswith("speculates by ngram: 3.36 tokens a step")
    entry = cluster_file_entry(answer)
    assert entry is not None
    assert entry["speculative"] == {"method": "ngram", "tokens": 4}
    spec = from_data({"models": [entry]}, "test")
    assert spec.models[0].speculative.draft_tokens == 4
    data = plan_data(answer)["speculation"]
    assert data["speedup"] == pytest.approx(trade.draft.per_step * trade.plain_step_s / trade.step_s)


def test_a_plan_leaves_out_what_makes_it_slower() -> None:
    """A draft model that is hardly ever right: the plan is that without, and says what it would have brought."""
    without = _planned(None)
    answer = _planned({"method": "draft_model", "tokens": 8, "acceptance": 0.1, "model": "llama-3.1-8b"})
    assert answer.best is not None
    assert answer.best.draft is None
    assert answer.best.tokens_per_s_per_gpu == without.best.tokens_per_s_per_gpu if without.best else False
    assert answer.speculation is not None
    assert answer.speculation.speedup < 1
    assert answer.speculation.why.startswith("does not speculate by draft_model: 1.11 tokens a step")
    assert "speculative" not in (cluster_file_entry(answer) or {})


def test_a_draft_model_that_cannot_be_divided_as_the_model_drafts_for_one_gpu_alone() -> None:
    """No other tensor size is to be had (engine_contract/test_vllm_speculative.py), and the plan says so."""
    smollm = known_model("smollm2-135m")
    asked = {"method": "draft_model", "tokens": 3, "acceptance": 0.9, "model": "smollm2-135m"}
    draft = draft_plan(SpeculativePlan.model_validate(asked), LLAMA_70B, smollm)
    assert not draft.why_not(Layout())
    assert not draft.why_not(Layout(3))
    assert "over 4 GPUs as the model, and " in draft.why_not(FOUR)
    question = _question(asked, tpot_s=0.05)
    chosen = assess(question, LLAMA_70B, FOUR, draft)
    assert chosen.steady is not None
    assert chosen.draft is None
    trade = speculation_trade(question, LLAMA_70B, chosen, draft)
    assert trade.why.startswith("does not speculate by draft_model: vLLM would divide the draft model over 4 GPUs")
    assert (trade.speedup, trade.tokens_per_s) == (1, trade.plain_tokens_per_s)


def test_a_draft_model_of_another_vocabulary_is_cautioned_against() -> None:
    """The engine would refuse it at start; a plan says so before."""
    data = {
        "model": "llama-3.1-70b",
        "hardware": "h100",
        "workload": {"input_tokens": 1000, "output_tokens": 400, "requests_per_s": 5},
        "slo": {"ttft_s": 2.0, "tpot_s": 0.03},
        "speculative": {"method": "draft_model", "tokens": 3, "acceptance": 0.7, "model": "smollm2-135m"},
    }
    question = PLAN_FILE.from_data(data, "test")
    (note,) = cautions(plan(question, LLAMA_70B, draft=known_model("smollm2-135m")))
    assert "49152 tokens" in note
    assert not cautions(plan(question, LLAMA_70B, draft=LLAMA_8B))


def test_what_a_plan_file_lacks_is_told() -> None:
    """Acceptance and tokens must be given, and a draft model named."""
    for speculative, path, words in (
        ({"method": "ngram", "tokens": 4}, "speculative.acceptance", "missing"),
        ({"method": "ngram", "tokens": 4, "acceptance": 2}, "speculative.acceptance", "less than or equal to 1"),
        ({"method": "draft_model", "tokens": 4, "acceptance": 0.7}, "speculative", "model is missing"),
    ):
        with pytest.raises(SpecError) as caught:
            _planned(speculative)
        (problem,) = caught.value.problems
        assert problem.path == path
        assert words in problem.message
