"""Two pools, planned: their ratio fits the load, their limits hold, and the plan says why it has one or two."""

from itertools import pairwise
from typing import Any

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8
from cluster.planning.answer import cluster_file_entry, plan_data
from cluster.planning.disaggregation import fetched, transfer_s
from cluster.planning.plan_file import PLAN_FILE
from cluster.planning.planner import Plan, plan
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.prompt_queue import busy_s, prefill_per_s, prompt_s
from cluster.replica_cost.queueing import queue_wait_s

LONG_PROMPTS = {"input_tokens": 16_000, "output_tokens": 300, "requests_per_s": 20}
COST = ReplicaCost(known_model("llama-3.1-70b").in_precision(FP8), ACCELERATORS["h100"], Layout(4), FP8)


def planned(model: str, hardware: str, **keys: Any) -> Plan:  # noqa: ANN401 - a plan file's values
    """Return the plan for `model` on `hardware`."""
    data = {"model": model, "hardware": hardware, "slo": {"ttft_s": 5, "tpot_s": 0.025}, **keys}
    return plan(PLAN_FILE.from_data(data, "test"), known_model(model))


@pytest.mark.parametrize("share", [None, 0.95])
def test_two_pools_serve_the_load_within_the_slo(share: float | None) -> None:
    """Each pool carries the rate with no replica too many, and a request that waits and is sent is in time."""
    slo = {"ttft_s": 5, "tpot_s": 0.025, **({"share": share} if share else {})}
    answer = planned("llama-3.1-70b", "h100", workload=LONG_PROMPTS, slo=slo, precisions=["fp8"], kv_precision="fp8")
    apart = answer.apart
    assert apart is not None
    for pool in (apart.prefill, apart.decode):
        assert pool.replicas * pool.requests_per_s * 0.8 >= 20 > (pool.replicas - 1) * pool.requests_per_s * 0.8
        assert pool.memory.kv_cache > 0
        assert pool.layout.pipeline == 1
    sizes = sorted((apart.prefill.layout.tensor, apart.decode.layout.tensor))
    assert sizes[1] % sizes[0] == 0
    assert apart.ttft_s <= 5 * (1 + 1e-9)
    assert apart.tpot_s <= 0.025
    assert apart.prefill.replicas > apart.decode.replicas
    assert apart.gpus == sum(pool.replicas * pool.layout.gpus for pool in (apart.prefill, apart.decode))


def test_long_prompts_go_apart_and_long_answers_stay() -> None:
    """Limits for 95 % of requests: beside prompts of 16 000 tokens streams stall, beside those of 200 they do not."""
    slo = {"ttft_s": 5, "tpot_s": 0.025, "share": 0.95}
    keys: dict[str, Any] = {"slo": slo, "precisions": ["fp8"], "kv_precision": "fp8", "price": {"gpu_hour": 2.5}}
    long_prompts = planned("llama-3.1-70b", "h100", workload=LONG_PROMPTS, **keys)
    assert long_prompts.is_apart
    assert long_prompts.best is not None
    assert long_prompts.apart is not None
    assert long_prompts.gpus == long_prompts.apart.gpus < long_prompts.best.gpus
    assert long_prompts.why_pools.startswith("two pools, ")
    assert f"are {long_prompts.gpus} GPUs where one pool needs {long_prompts.best.gpus}" in long_prompts.why_pools
    assert long_prompts.cost_per_million_output_tokens == pytest.approx(
        long_prompts.gpus * 2.5 / 3600 / (20 * 300) * 1e6
    )
    answers = {"input_tokens": 200, "output_tokens": 2_000, "requests_per_s": 20}
    long_answers = planned("llama-3.1-70b", "h100", workload=answers, **keys)
    assert not long_answers.is_apart
    assert long_answers.best is not None
    assert long_answers.gpus == long_answers.best.gpus
    assert long_answers.why_pools.startswith("one pool: apart it would be ")
    assert "prompts take" in long_answers.why_pools


def test_two_pools_are_in_the_cluster_file_and_in_the_data() -> None:
    """Each pool with its role, layout and the engine's arguments; programs get all figures."""
    answer = planned(
        "llama-3.1-70b",
        "h100",
        workload=LONG_PROMPTS,
        slo={"ttft_s": 5, "tpot_s": 0.025, "share": 0.95},
        precisions=["fp8"],
        kv_precision="fp8",
    )
    apart, entry, data = answer.apart, cluster_file_entry(answer), plan_data(answer)
    assert apart is not None
    assert entry is not None
    assert "replicas" not in entry
    prefill, decode = entry["pools"]
    assert (prefill["role"], prefill["replicas"]) == ("prefill", apart.prefill.replicas)
    assert (decode["role"], decode["replicas"]) == ("decode", apart.decode.replicas)
    assert decode["parallel"] == {"tensor": apart.decode.layout.tensor, "pipeline": 1}
    assert decode["engine_args"] == {
        "max_num_seqs": apart.decode.batch,
        "max_num_batched_tokens": 8192,
        "gpu_memory_utilization": 0.92,
        "kv_cache_dtype": "fp8",
        "quantization": "fp8_per_tensor",
    }
    assert "max_num_seqs" not in prefill["engine_args"]
    assert prefill["planned"].keys() == {"prefill_tokens_per_s", "kv_tokens"}
    assert decode["planned"].keys() == {"decode_tokens_per_s", "sequences", "kv_tokens"}
    needed = apart.decode.requests_per_s * answer.question.workload.work.output_tokens
    assert decode["planned"]["decode_tokens_per_s"] == pytest.approx(needed, rel=0.02)
    assert data["chosen"] == "two_pools"
    assert data["apart"]["gpus"] == apart.gpus
    assert data["apart"]["decode"]["batch"] == apart.decode.batch
    assert data["cluster_file"] == entry


def test_an_slo_that_only_two_pools_hold_is_planned_with_two() -> None:
    """One pool stalls too often for the limit; two hold it, and nothing serves it where a token alone is too slow."""
    workload = {**LONG_PROMPTS, "output_tokens": 60}
    keys: dict[str, Any] = {"precisions": ["fp8"], "kv_precision": "fp8", "limits": {"gpus_per_replica": 4}}
    tight = planned(
        "llama-3.1-70b", "h100", workload=workload, slo={"ttft_s": 5, "tpot_s": 0.0125, "share": 0.99}, **keys
    )
    assert tight.best is None
    assert tight.is_apart
    assert "one pool does not serve this within the SLO" in tight.why_pools
    none = planned("llama-3.1-70b", "h100", workload=workload, slo={"ttft_s": 5, "tpot_s": 0.005}, **keys)
    assert (none.best, none.apart, none.gpus, none.why_pools) == (None, None, 0, "nothing serves this within the SLO")


def test_a_replica_computes_more_prompts_if_they_may_wait_longer() -> None:
    """Up to the rate at which it never rests; and fewer where lengths vary, or where more of them must be in time."""
    rates = [prefill_per_s(0.5, wait_s) for wait_s in (0.01, 0.1, 1.0, 100.0)]
    assert all(before < after for before, after in pairwise(rates))
    assert rates[0] < 0.1
    assert rates[-1] == pytest.approx(2.0, rel=0.01)
    usual = prefill_per_s(0.5, 1.0, 1.0, 0.95)
    assert prefill_per_s(0.5, 1.0, 2.0, 0.95) < usual < prefill_per_s(0.5, 1.0, 0.5, 0.95)
    assert prefill_per_s(0.5, 1.0, 1.0, 0.99) < usual < prefill_per_s(0.5, 1.0, 1.0, 0.95, ranks=4)


def test_waits_are_those_of_the_queues_formulas() -> None:
    """M/D/1: half a service time at a half load. M/G/1 with one server: the exponential tail beyond the mean."""
    assert queue_wait_s(1.0, 0.5, 0.0, None) == pytest.approx(0.5)
    assert queue_wait_s(1.0, 0.9, 0.0, None) == pytest.approx(4.5)
    # An M/M/1 queue: P(wait > t) = load · exp(-t (1 - load) / service), exactly.
    assert queue_wait_s(1.0, 0.8, 1.0, 0.95) == pytest.approx(5.0 * 2.772588722239781)
    assert queue_wait_s(1.0, 0.04, 1.0, 0.95) == 0.0
    assert queue_wait_s(1.0, 1.0, 1.0, 0.95) == float("inf")


def test_short_prompts_share_a_step_and_long_ones_take_several() -> None:
    """200 tokens alone take a whole step, but 40 of them take one together; 20 000 take three."""
    short, long_prompt = Work(200, 100), Work(20_000, 100)
    assert busy_s(COST, short) < prompt_s(COST, short)
    assert busy_s(COST, long_prompt) == prompt_s(COST, long_prompt)
    assert prompt_s(COST, long_prompt) == pytest.approx(3 * COST.step(0, 20_000 / 3, long_prompt).total)


def test_what_is_fetched_leaves_one_token_to_compute() -> None:
    """A decode replica's steps are nearly those without any prompt."""
    work = fetched(Work(8_000, 200, 0.2, 0.5, 0.7))
    assert (work.new_tokens, work.input_spread, work.output_tokens) == (1.0, 0.0, 200)
    assert COST.steady(64, work).tpot_s == pytest.approx(COST.step(64, 0, work).total, rel=0.01)


def test_transfers_are_faster_inside_a_domain() -> None:
    """8 000 tokens of 163 840 bytes: over four NVLinks of a node, and over four network cards between nodes."""
    inside_s, within = transfer_s(COST, Layout(4), Layout(4), 8_000)
    assert within
    assert inside_s == pytest.approx(8_000 * 163_840 / (4 * 450e9 * 0.8) + 10e-6)
    outside_s, within = transfer_s(COST, Layout(8), Layout(4), 8_000)
    assert not within
    assert outside_s == pytest.approx(8_000 * 163_840 / (4 * 50e9 * 0.8) + 15e-6)


def test_a_share_of_the_requests_is_slower_than_the_mean() -> None:
    """The more prompts differ, the slower are the slowest answers; without prompts to compute all are alike."""
    work = Work(8_000, 300, input_spread=1.0)
    shares = [COST.steady(16, work, share).tpot_s for share in (0.5, 0.9, 0.95, 0.99)]
    assert all(before < after for before, after in pairwise(shares))
    assert COST.steady(16, Work(8_000, 300, input_spread=2.0), 0.95).tpot_s > shares[2]
    none = Work(8_000, 300, prefix_hit=1.0)
    assert COST.steady(16, none, 0.99).tpot_s == pytest.approx(COST.steady(16, none).tpot_s, rel=0.01)
