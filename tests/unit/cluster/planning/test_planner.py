"""Plans: the best of all options by their own figures, and the exact reason why each other one lost."""

from typing import TYPE_CHECKING, Any

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import Rate
from cluster.planning.answer import cautions, cluster_file_entry, plan_data
from cluster.planning.plan_file import PLAN_FILE
from cluster.planning.planner import Plan, layouts, plan
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.spec.cluster_file import from_data

if TYPE_CHECKING:
    from cluster.planning.option import Option


def planned(model: str, hardware: str, **keys: Any) -> Plan:  # noqa: ANN401 - a plan file's values
    """Return the plan for `model` on `hardware`, with a chat workload unless told otherwise."""
    data = {
        "model": model,
        "hardware": hardware,
        "workload": {"input_tokens": 2000, "output_tokens": 300, "requests_per_s": 10},
        "slo": {"ttft_s": 2.0, "tpot_s": 0.05},
        **keys,
    }
    return plan(PLAN_FILE.from_data(data, "test"), known_model(model))


def reason(answer: Plan, layout: Layout, precision: str = "") -> str:
    """Return why `layout` lost."""
    return next(
        option.why_lost for option in answer.others if option.layout == layout and precision in {"", option.precision}
    )


@pytest.mark.parametrize(
    ("model", "hardware"),
    [
        ("llama-3.1-8b", "l40s"),
        ("llama-3.1-70b", "h100"),
        ("llama-3.1-405b", "gb200"),
        ("qwen3-32b", "a100"),
        ("qwen3-235b-a22b-fp8", "h200"),
        ("gpt-oss-120b", "mi300x"),
        ("deepseek-r1", "gb300"),
        ("smollm2-135m", "cpu"),
    ],
)
def test_the_plan_serves_the_workload_within_the_slo_with_the_fewest_gpus(model: str, hardware: str) -> None:
    """Every promise of a plan, checked on its own figures."""
    answer = planned(model, hardware)
    best, expected, question = answer.best, answer.expected, answer.question
    assert best is not None
    assert best.steady is not None
    assert best.memory is not None
    assert expected is not None
    rate, slo = question.workload.requests_per_s, question.slo
    assert best.steady.tpot_s <= slo.most_tpot_s
    assert best.steady.ttft_s <= slo.ttft_s
    assert best.replicas * best.steady.requests_per_s * question.limits.load >= rate * (1 - 1e-9)
    assert (best.replicas - 1) * best.steady.requests_per_s * question.limits.load < rate
    assert best.memory.kv_cache > 0
    assert sum(getattr(best.memory, part) for part in best.memory.__slots__) == pytest.approx(
        ACCELERATORS[hardware].memory_bytes
    )
    assert expected.requests_per_s * best.replicas >= rate * (1 - 1e-9)
    assert expected.tpot_s <= best.steady.tpot_s
    assert not best.why_lost
    for option in answer.others:
        assert option.why_lost
        assert (option.steady is None) == (option.replicas == 0)
        assert option.steady is None or option.gpus >= best.gpus
    assert len({(option.precision, option.layout) for option in answer.others}) == len(answer.others)


def test_the_plan_that_the_readme_walks_through() -> None:
    """DeepSeek-R1 on GB300: what cluster/README.md says comes out."""
    answer = planned(
        "deepseek-r1",
        "gb300",
        workload={"input_tokens": 4000, "output_tokens": 800, "requests_per_s": 30, "prefix_hit": 0.3},
        precisions=["fp8", "nvfp4"],
        kv_precision="fp8",
        price={"gpu_hour": 4},
    )
    best = answer.best
    assert best is not None
    assert (best.precision, best.layout, best.replicas, best.gpus) == ("nvfp4", Layout(2), 14, 28)
    apart = answer.apart
    assert apart is not None
    assert (apart.prefill.layout.gpus, apart.prefill.replicas) == (2, 3)
    assert (apart.decode.layout.gpus, apart.decode.replicas) == (9, 1)
    assert reason(answer, Layout(2), "fp8") == "weights 674 GB > 2 × 257 GB usable"  # noqa: RUF001 - the field's own sign


def test_every_layout_that_is_possible_is_looked_at() -> None:
    """Each alternative is in the answer once: tensor, pipeline, data and expert sizes up to two domains."""
    answer = planned("gpt-oss-120b", "h100")
    looked_at = {option.layout for option in answer.others} | {answer.best.layout if answer.best else None}
    assert looked_at == set(layouts(known_model("gpt-oss-120b"), answer.question))
    assert Layout(8, 2) in looked_at
    assert Layout(2, 1, 4, experts_whole=True) in looked_at
    assert all(layout.gpus <= 16 for layout in looked_at if layout)


def test_weights_that_do_not_fit_are_weighed() -> None:
    """DeepSeek-R1's 673 GB, and what is copied to each, on four H200 of 130 GB usable each."""
    answer = planned("deepseek-r1", "h200", kv_precision="fp8")
    assert reason(answer, Layout(4)) == "weights 677 GB > 4 × 130 GB usable"  # noqa: RUF001 - the field's own sign


def test_a_layout_that_cuts_something_is_told_what() -> None:
    """FP8 blocks of Qwen3-235B's experts on eight GPUs; SmolLM2's nine heads on two."""
    qwen = planned("qwen3-235b-a22b-fp8", "h200")
    assert reason(qwen, Layout(8)) == "expert width 1536 / 8 = 192 would cut a scale block of 128"
    assert reason(planned("smollm2-135m", "l40s"), Layout(2)) == "9 attention heads are not divisible by 2"


def test_groups_that_need_a_larger_domain_are_refused() -> None:
    """A tensor group of 16 on boxes of eight is never offered; on a rack it is."""
    hopper, rack = planned("llama-3.1-70b", "h100"), planned("llama-3.1-70b", "gb200")
    assert all(option.layout.one_domain_gpus <= 8 for option in hopper.others)
    assert any(option.layout.tensor == 16 for option in rack.others)
    wide = Layout(2, 1, 8, experts_whole=True)
    assert wide.why_not(known_model("deepseek-r1"), ACCELERATORS["h100"]) == (
        "the expert group of 16 GPUs does not fit a domain of 8"
    )


def test_memory_that_holds_no_sequence_is_told_how_much_is_missing() -> None:
    """Weights fit, the cache of one long request doesn't."""
    small = planned(
        "qwen3-32b",
        "a100",
        workload={"input_tokens": 40_000, "output_tokens": 900, "requests_per_s": 1},
        limits={"memory_share": 0.98},
    )
    assert reason(small, Layout(1)).endswith("one sequence of 40900 tokens needs 10.7 GB")


def test_requests_longer_than_the_context_are_refused() -> None:
    """No hardware helps."""
    answer = planned("smollm2-135m", "h100", workload={"input_tokens": 9000, "output_tokens": 1, "requests_per_s": 1})
    assert answer.best is None
    assert reason(answer, Layout(1)) == "requests of 9001 tokens > the model's context of 8192"
    assert cluster_file_entry(answer) is None
    assert plan_data(answer)["best"] is None


def test_an_slo_nobody_meets_is_told_by_how_much() -> None:
    """Even one sequence is too slow."""
    slow = planned("llama-3.1-405b", "h100", slo={"ttft_s": 5, "tpot_s": 0.001})
    assert slow.best is None
    assert "ms > 1 ms with one sequence" in reason(slow, Layout(8, 2))
    late = planned(
        "llama-3.1-70b",
        "l40s",
        slo={"ttft_s": 0.05, "tpot_s": 1},
        workload={"input_tokens": 20_000, "output_tokens": 100, "requests_per_s": 1},
    )
    assert "s > 0.05 s with one sequence" in reason(late, Layout(8))


def test_alternatives_that_serve_are_told_what_they_cost_more() -> None:
    """GPUs first, then the size of a gang, then room."""
    answer = planned("llama-3.1-70b", "h100", precisions=["bf16", "fp8"])
    best = answer.best
    assert best is not None
    assert best.precision == "fp8"
    serving = [option for option in answer.others if option.steady]
    more = [option for option in serving if option.gpus > best.gpus]
    assert more
    for option in more:
        assert option.why_lost.startswith(f"needs {option.gpus} GPUs, {option.gpus - best.gpus} more: ")
        assert f"{best.tokens_per_s_per_gpu:,.0f}" in option.why_lost
    for option in serving:
        if option.gpus == best.gpus and option.layout.gpus > best.layout.gpus:
            assert option.why_lost == (
                f"as many GPUs, but a gang is {option.layout.gpus} of them instead of {best.layout.gpus}"
            )


def test_four_bit_weights_win_where_the_hardware_multiplies_them() -> None:
    """Half the memory and twice the rate on GB200; on H200 only the memory, and FP8 is quicker."""

    def tokens(answer: Plan, precision: str, layout: Layout) -> float:
        options: list[Option] = [*answer.others, *([answer.best] if answer.best else [])]
        return next(
            option.tokens_per_s_per_gpu
            for option in options
            if option.layout == layout and option.precision == precision
        )

    blackwell = planned("llama-3.1-405b", "gb200", precisions=["fp8", "nvfp4"])
    hopper = planned("llama-3.1-405b", "h200", precisions=["fp8", "nvfp4"])
    layout = Layout(8)
    assert blackwell.best is not None
    assert blackwell.best.precision == "nvfp4"
    assert tokens(blackwell, "nvfp4", layout) > 1.1 * tokens(blackwell, "fp8", layout)
    assert tokens(hopper, "fp8", layout) > tokens(hopper, "nvfp4", layout)


def test_more_requests_need_more_replicas_of_the_same_kind() -> None:
    """Twice the load, twice the replicas, but for rounding up."""
    workload = {"input_tokens": 2000, "output_tokens": 300, "requests_per_s": 100}
    once = planned("llama-3.1-8b", "h100", workload=workload).best
    twice = planned("llama-3.1-8b", "h100", workload={**workload, "requests_per_s": 200}).best
    assert once is not None
    assert twice is not None
    assert once.layout == twice.layout
    assert twice.replicas in {2 * once.replicas, 2 * once.replicas - 1}


def test_a_cached_prefix_saves_gpus() -> None:
    """Nine tenths of long prompts cached."""
    workload = {"input_tokens": 8000, "output_tokens": 100, "requests_per_s": 20}
    cold = planned("llama-3.1-70b", "h100", workload=workload).best
    warm = planned("llama-3.1-70b", "h100", workload={**workload, "prefix_hit": 0.9}).best
    assert cold is not None
    assert warm is not None
    assert warm.gpus < cold.gpus / 2


def test_costs_are_those_of_the_gpus_over_the_tokens() -> None:
    """GPUs x price an hour over tokens an hour."""
    answer = planned("llama-3.1-70b", "h100", price={"gpu_hour": 2.0})
    assert answer.gpus
    per_hour = answer.gpus * 2.0
    assert answer.cost_per_million_output_tokens == pytest.approx(per_hour / (10 * 300 * 3600 / 1e6))
    assert answer.cost_per_million_tokens == pytest.approx(per_hour / (10 * 2300 * 3600 / 1e6))
    assert planned("llama-3.1-70b", "h100").cost_per_million_tokens is None


@pytest.mark.parametrize(
    ("keys", "bound_by"),
    [
        ({"slo": {"ttft_s": 60, "tpot_s": 60}, "limits": {"batch": 7}}, "engine"),
        ({"slo": {"ttft_s": 60, "tpot_s": 60}, "limits": {"batch": 60_000}}, "KV cache"),
        ({"slo": {"ttft_s": 60, "tpot_s": 0.02}}, "TPOT"),
        ({"slo": {"ttft_s": 0.12, "tpot_s": 60}, "limits": {"batch": 60_000}}, "TTFT"),
    ],
)
def test_what_bounds_the_batch_is_named(keys: dict[str, Any], bound_by: str) -> None:
    """Memory, the engine's own limit, or either time of the SLO."""
    answer = planned("llama-3.1-8b", "h100", **keys)
    assert answer.best is not None
    assert answer.best.bound_by == bound_by


def test_the_answer_is_an_entry_of_a_cluster_file() -> None:
    """What `rackserve plan` prints is accepted by `rackserve serve`."""
    answer = planned("gpt-oss-120b", "h100", kv_precision="fp8")
    entry = cluster_file_entry(answer)
    spec = from_data({"models": [entry]}, "plan")
    best = answer.best
    assert best is not None
    assert best.steady is not None
    model = spec.models[0]
    assert model.source == "openai/gpt-oss-120b"
    assert (model.parallel.tensor, model.parallel.pipeline) == (best.layout.tensor, best.layout.pipeline)
    assert model.replicas.min == best.replicas
    assert model.engine_args["max_num_seqs"] == best.steady.batch
    assert model.engine_args["kv_cache_dtype"] == "fp8"


def test_the_entry_says_what_was_planned_of_each_replica() -> None:
    """Decode as at capacity without prompts' time; prefill within peak arithmetic, and enough; the plan's memory."""
    answer = planned("llama-3.1-8b", "h100")
    best, entry = answer.best, cluster_file_entry(answer)
    assert best is not None
    assert best.steady is not None
    assert best.memory is not None
    assert entry is not None
    promised = from_data({"models": [entry]}, "plan").models[0].planned
    assert promised.sequences == best.steady.batch * best.layout.data
    decode, prefill, kv_tokens = promised.decode_tokens_per_s, promised.prefill_tokens_per_s, promised.kv_tokens
    assert decode == pytest.approx(best.steady.output_tokens_per_s / (1 - best.steady.prefill_share), rel=0.01)
    assert prefill is not None
    peak = best.layout.gpus * ACCELERATORS["h100"].flops[Rate.BF16] / (2 * answer.model.parameters)
    assert best.steady.requests_per_s * 2000 < prefill < peak
    kv_bytes = 2 * 32 * 8 * 128 * 2  # keys and values of 8 heads of 128 in 32 layers, BF16
    assert kv_tokens == pytest.approx(best.memory.kv_cache * best.layout.gpus / kv_bytes, rel=0.01)


def test_whole_experts_and_quantising_reach_the_cluster_file() -> None:
    """Expert and data parallelism, and FP8 made from a BF16 checkpoint as vLLM loads it."""
    qwen = planned("qwen3-235b-a22b-fp8", "h100")
    entry = cluster_file_entry(qwen)
    assert entry is not None
    apart = qwen.apart
    assert apart is not None
    spec = from_data({"models": [entry]}, "the plan")
    for planned_pool, pool in zip((apart.prefill, apart.decode), spec.models[0].in_pools(), strict=True):
        layout, parallel = planned_pool.layout, pool.parallel
        assert (parallel.tensor, parallel.data, parallel.expert) == (layout.tensor, layout.data, layout.expert)
        assert (pool.replicas.min, pool.pools[0].role) == (planned_pool.replicas, planned_pool.role)
    llama = cluster_file_entry(planned("llama-3.1-70b", "h100", precisions=["fp8"]))
    assert llama is not None
    assert llama["engine_args"]["quantization"] == "fp8_per_tensor"


def test_a_format_that_needs_another_checkpoint_is_a_caution() -> None:
    """So is hardware whose figures are rough."""
    work = {"input_tokens": 2000, "output_tokens": 300, "requests_per_s": 10, "output_spread": 1.1}
    assert cautions(planned("deepseek-r1", "gb300", precisions=["nvfp4"], workload=work)) == [
        "the checkpoint is fp8: the cluster file's source must name one in nvfp4"
    ]
    assert cautions(planned("llama-3.1-70b", "h100", precisions=["fp8"])) == []
    assert "upper bound" in cautions(planned("smollm2-135m", "cpu"))[0]


def test_long_tails_of_answers_take_gpus() -> None:
    """DeepSeek-R1's, as MLPerf has them: more GPUs than for answers of one length, which a plan for it warns of."""
    work = {"input_tokens": 800, "output_tokens": 3900, "requests_per_s": 30}
    asked: dict[str, Any] = {"precisions": ["nvfp4"], "kv_precision": "fp8", "slo": {"ttft_s": 2, "tpot_s": 0.05}}
    equal = planned("deepseek-r1", "gb300", workload=work, **asked)
    spread = planned("deepseek-r1", "gb300", workload={**work, "output_spread": 1.114}, **asked)
    assert equal.gpus * 1.1 < spread.gpus < equal.gpus * 1.6
    told = [any("workload.output_spread" in caution for caution in cautions(answer)) for answer in (equal, spread)]
    assert told == [True, False]
