"""The weights' format reaches memory, speed and the reasons of a plan."""

from typing import Any, Final

import pytest

from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.planning.answer import cautions, plan_data
from cluster.planning.plan_file import PlanFile
from cluster.planning.planner import Plan, plan
from cluster.replica_cost.cost_model import ReplicaCost, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import memory_use

LLAMA_70B: Final = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_hidden_layers": 80,
    "vocab_size": 128256,
}
GPTQ8: Final = {"quant_method": "gptq", "bits": 8, "group_size": 128}
GPTQ4: Final = {"quant_method": "gptq", "bits": 4, "group_size": 128}
W8A8: Final = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True},
            "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
        }
    },
    "ignore": ["lm_head"],
}
H100: Final = ACCELERATORS["h100"]
WORK: Final = Work(2000, 400)


def llama(quantisation: dict[str, Any] | None = None, **changes: object) -> ModelShape:
    """Return Llama-70B with that `quantization_config`."""
    extra = {"quantization_config": quantisation} if quantisation else {}
    return shape_from_config({**LLAMA_70B, **changes, **extra}, "llama")


def planned(shape: ModelShape, **changes: object) -> Plan:
    """Return a plan for H100."""
    question = {
        "model": "llama",
        "hardware": "h100",
        "workload": {"input_tokens": 2000, "output_tokens": 400, "requests_per_s": 2},
        "slo": {"ttft_s": 2, "tpot_s": 0.06},
        **changes,
    }
    return plan(PlanFile.model_validate(question), shape)


def test_memory_holds_scales_and_zero_points() -> None:
    """Eight bits, and 24 more for 128 values; tables and norms in BF16; tensor GPUs share both."""
    shape = llama(GPTQ8)
    linear = 80 * (2 * 8192 * 8192 + 2 * 8192 * 1024 + 3 * 8192 * 28672)
    plain = 2 * 128256 * 8192 + (2 * 80 + 1) * 8192
    assert shape.weight_bytes == pytest.approx(linear * (1 + 3 / 128) + 2 * plain)
    whole, half = (memory_use(shape, H100, Layout(tensor), 8192).weights for tensor in (1, 2))
    assert whole == pytest.approx(shape.weight_bytes)
    assert half == pytest.approx(whole / 2, rel=1e-4)


def test_weights_alone_in_eight_bits_speed_up_decoding_but_not_prompts() -> None:
    """GPTQ-Int8 is unpacked to BF16; W8A8 multiplies in INT8: as much memory traffic, half the arithmetic, rounding."""
    bf16, weights, both = (ReplicaCost(llama(quantisation), H100, Layout(4)) for quantisation in (None, GPTQ8, W8A8))

    def prompt_s(cost: ReplicaCost) -> float:
        step = cost.step(0, 4096, WORK)
        return step.mlp + step.projections

    def token_s(cost: ReplicaCost) -> float:
        return cost.step(1, 0, WORK).mlp

    assert prompt_s(weights) == pytest.approx(prompt_s(bf16), rel=0.02)
    assert 0.5 < prompt_s(both) / prompt_s(bf16) < 0.65, "activations are rounded to eight bits first"
    assert token_s(weights) == pytest.approx(token_s(bf16) / 2, rel=0.03)
    assert token_s(both) == pytest.approx(token_s(bf16) / 2, rel=0.03)


def test_a_checkpoints_own_grouping_is_what_is_served() -> None:
    """The plan's choice and its load are computed with the file's own scales, not with those of its format's name."""
    coarse, fine = planned(llama({**GPTQ4, "group_size": -1})), planned(llama({**GPTQ4, "group_size": 32}))
    assert coarse.best is not None
    assert fine.best is not None
    assert coarse.best.precision == fine.best.precision == "int4"
    assert coarse.best.memory is not None
    assert fine.best.memory is not None
    assert fine.best.memory.weights / coarse.best.memory.weights == pytest.approx(4.625 / 4, rel=0.02)
    assert plan_data(fine)["model"]["bytes_by_part"]["mlp"] == pytest.approx(80 * 3 * 8192 * 28672 * 4.625 / 8)


def test_reasons_name_what_a_group_would_be_cut_by() -> None:
    """28672 is 224 groups of 128: 32 GPUs divide them, 64 do not; nothing else of the model is against it."""
    assert llama(GPTQ4).tensor_sizes(64) == [1, 2, 4, 8, 16, 32]
    assert llama(GPTQ4).why_not_tensor(64) == "MLP width 28672 / 64 = 448 would cut a quantisation group of 128"
    answer = planned(llama({**GPTQ4, "group_size": 128}, intermediate_size=29568))
    [reason] = {option.why_lost for option in answer.others if option.layout == Layout(2)}
    assert reason == "MLP width 29568 / 2 = 14784 would cut a quantisation group of 128"


def test_another_format_than_the_checkpoints_needs_another_checkpoint() -> None:
    """The plan says so, and the file's own grouping binds only its own format."""
    answer = planned(llama(GPTQ4, intermediate_size=29568), precisions=["fp8"])
    assert {option.layout.tensor for option in answer.others if option.steady} > {1}
    assert "the checkpoint is int4: the cluster file's source must name one in fp8" in cautions(answer)


def test_cautions_of_the_checkpoint_reach_the_plan() -> None:
    """A float32 checkpoint is served in BF16, but downloaded whole."""
    answer = planned(llama(torch_dtype="float32"))
    assert plan_data(answer)["cautions"] == [
        "the checkpoint is float32: vLLM converts it to bf16 as it loads, but the download is twice as large"
    ]
    assert answer.model.weight_bytes == 2 * answer.model.parameters
    assert plan_data(answer)["model"]["bytes_by_format"] == {}


def test_kv_heads_beyond_one_a_gpu_are_copies() -> None:
    """Llama-70B has eight: on 16 GPUs each holds one, twice as much of keys' and values' matrices as a sixteenth."""
    attention = llama().attention
    matrices = 2 * 8192 * 1024
    assert attention.parameters_on_one_gpu(8) == attention.parameters / 8
    assert attention.parameters_on_one_gpu(16) == (attention.parameters + matrices) / 16
    assert llama().attention_share(16) == pytest.approx((1 + matrices / attention.parameters) / 16)
