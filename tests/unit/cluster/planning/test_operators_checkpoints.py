"""Config files of checkpoints that people serve, from the folder of shared data: each is planned right, or refused.

Published sizes are those of `cases/operators/README.md` there, or of the checkpoint's page on Hugging Face.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from cluster.errors import ModelShapeError
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import BF16, Rate
from cluster.planning.plan_file import PLAN_FILE
from cluster.planning.planner import Plan, plan
from tests.data_files import data_folder

CASES: Final = data_folder() / "cases" / "operators"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason=f"no {CASES}: $RACKSERVE_DATA names the folder of shared data"
)

SIZES: Final = {
    "deepseek-r1": (671e9, 673e9, "fp8"),
    "deepseek-r1-awq": (671e9, 365e9, "int4"),
    "deepseek-r1-nvfp4": (671e9, 397e9, "nvfp4"),
    "deepseek-v2-lite": (15.7e9, 31.4e9, "bf16"),
    "deepseek-v3.2": (671e9, 1342e9, "bf16"),
    "gemma-3-27b": (27.4e9, 54.9e9, "bf16"),
    "gpt-oss-20b": (20.9e9, 13.8e9, "mxfp4"),
    "kimi-k2-fp8": (1026e9, 1029e9, "fp8"),
    "kimi-k2-thinking-int4": (1026e9, 594e9, "int4"),
    "llama-3.2-1b": (1.24e9, 2.47e9, "bf16"),
    "llama-3.3-70b": (70.6e9, 141.1e9, "bf16"),
    "llama-4-scout": (107.8e9, 215.5e9, "bf16"),  # 108.6 B with what looks at images, which the file leaves out
    "llama-70b-fp32": (70.6e9, 141.1e9, "bf16"),  # converted as it is loaded
    "llama-70b-fp8-attn-vision-ignored": (70.6e9, 72.7e9, "fp8"),
    "mistral-7b-v0.1": (7.24e9, 14.5e9, "bf16"),
    "mistral-nemo-12b": (12.2e9, 24.5e9, "bf16"),
    "mistral-small-24b": (23.6e9, 47.1e9, "bf16"),
    "mistral3-24b-vl": (23.6e9, 47.1e9, "bf16"),  # 24.0 B with what looks at images, which the file leaves out
    "mixtral-8x7b": (46.7e9, 93.4e9, "bf16"),
    "phi-3-mini-4k": (3.82e9, 7.64e9, "bf16"),
    "phi-4": (14.7e9, 29.3e9, "bf16"),
    "qwen2-72b-awq-29568": (72.7e9, 41.6e9, "int4"),
    "qwen2.5-0.5b": (0.494e9, 0.988e9, "bf16"),
    "qwen2.5-14b-awq": (14.8e9, 9.98e9, "int4"),
    "qwen2.5-72b": (72.7e9, 145.4e9, "bf16"),
    "qwen2.5-72b-awq": (72.7e9, 41.6e9, "int4"),
    "qwen2.5-72b-gptq-int4": (72.7e9, 41.6e9, "int4"),
    "qwen2.5-72b-gptq-int8": (72.7e9, 77e9, "int8-w8a16"),
    "qwen2.5-vl-7b": (7.62e9, 15.2e9, "bf16"),  # 8.29 B with what looks at images, which the file leaves out
    "qwen3-235b-fp8": (235e9, 236.4e9, "fp8"),
    "qwen3-30b-a3b": (30.5e9, 61.1e9, "bf16"),
    "qwen3-8b": (8.19e9, 16.4e9, "bf16"),
    "qwen3-coder-480b-a35b": (480e9, 960e9, "bf16"),
    "qwen3-vl-235b": (235e9, 470e9, "bf16"),
}
"""Parameters, bytes of weights and their format, by the file's name."""

REFUSED: Final = {
    "deepseek-r1-w4a8-mixed": "MIXED_PRECISION without quantized_layers",
    "llama-70b-bnb4": "quant_method 'bitsandbytes': vLLM 0.32 no longer loads bitsandbytes checkpoints",
    "llama-70b-w4a8awq": "ModelOpt's quant_algo 'W4A16_AWQ' is not served by vLLM 0.32",
    "llama-8b-gptq-3bit": "GPTQ with 2 bits is not served by vLLM 0.32",
}
"""Files whose algorithm vLLM 0.32 does not serve, and what the refusal says."""


def config(name: str) -> Any:  # noqa: ANN401 - any JSON
    """Return the content of a config file."""
    return json.loads((CASES / "models" / f"{name}.json").read_text())


def shape(name: str) -> ModelShape:
    """Return the shape that it describes."""
    return shape_from_config(config(name), name)


def planned(name: str) -> Plan:
    """Return the plan of a plan file."""
    file = CASES / "plans" / f"{name}.yaml"
    question = PLAN_FILE.load(file.read_text(), str(file))
    return plan(question, shape(Path(question.model).stem))


def test_every_file_is_in_one_of_the_tables() -> None:
    """None is left untried."""
    assert {path.stem for path in (CASES / "models").glob("*.json")} == {*SIZES, *REFUSED}


@pytest.mark.parametrize("name", SIZES)
def test_size_and_format_are_the_published_ones(name: str) -> None:
    """Parameters and bytes within one percent."""
    parameters, size, precision = SIZES[name]
    model = shape(name)
    assert model.parameters == pytest.approx(parameters, rel=0.01)
    assert model.weight_bytes == pytest.approx(size, rel=0.01)
    assert model.weight_precision.name == precision


@pytest.mark.parametrize("name", REFUSED)
def test_algorithms_that_are_not_served_are_refused_by_name(name: str) -> None:
    """Each with its own reason: none counts as FP8."""
    with pytest.raises(ModelShapeError, match=name) as caught:
        shape(name)
    assert REFUSED[name] in str(caught.value)


def test_one_ignored_matrix_leaves_attention_in_fp8() -> None:
    """And the plan warns that vLLM joins it with others."""
    model = shape("llama-70b-fp8-attn-vision-ignored")
    assert model.precision(WeightGroup.ATTENTION).name == "fp8"
    assert model.precision(WeightGroup.ATTENTION).bits < 8.1
    assert "vLLM 0.32 refuses model.layers.0.self_attn.qkv_proj" in model.cautions[0]


def test_mlps_experts_and_attention_keep_their_own_formats() -> None:
    """DeepSeek-R1 in NVFP4: attention is left out, layer by layer, by sixty patterns."""
    model = shape("deepseek-r1-nvfp4")
    assert model.precision(WeightGroup.ATTENTION) == BF16
    assert {model.precision(part).name for part in (WeightGroup.MLP, WeightGroup.EXPERTS)} == {"nvfp4"}


def test_gptq_in_eight_bits_is_planned_with_its_real_size() -> None:
    """It does not fit one GPU of 80 GB, its kernels multiply in BF16, and no even tensor size divides 231 groups."""
    answer = planned("gptq_int8")
    assert answer.best is not None
    assert answer.best.layout.tensor == 1
    assert answer.best.layout.gpus > 1
    assert answer.model.precision(WeightGroup.MLP).rates == (Rate.BF16,)
    assert "weights 76.8 GB > 1 × 73.6 GB usable" in {option.why_lost for option in answer.others}  # noqa: RUF001 - the field's own sign


def test_tensor_sizes_that_cut_a_group_are_refused_with_the_reason() -> None:
    """Qwen2-72B AWQ on L40S: TP 2, 4 and 8 are refused; TP 1 reads all weights for each token, which takes too long."""
    answer = planned("group_straddle")

    def why(size: int) -> set[str]:
        return {option.why_lost for option in answer.others if option.layout.tensor == size}

    for size in (2, 4, 8):
        assert why(size) == {f"MLP width 29568 / {size} = {29568 // size} would cut a quantisation group of 128"}
    assert answer.best is None
    reasons = why(1)
    assert all(reason.startswith(("weights", "TPOT")) for reason in reasons), reasons


@pytest.mark.parametrize(
    ("name", "layers"), [("deepseek-r1", 1), ("deepseek-v3.2", 1), ("kimi-k2-fp8", 0), ("qwen3-8b", 0)]
)
def test_layers_for_drafts_are_those_of_the_config(name: str, layers: int) -> None:
    """Kimi K2 has DeepSeek's architecture without them; they count in no size."""
    assert shape(name).mtp_layers == layers
