"""Shapes of real models: parameters, memory and sizes against what is published."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import ModelShapeError
from cluster.model_shapes.known_models import CHECKPOINTS, KNOWN_CONFIGS, known_model
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import BF16, FP8, NVFP4, PRECISIONS

CONFIGS = Path(__file__).parents[3] / "model_configs"


def config(name: str) -> dict[str, Any]:
    """Return the config.json that `name` was published with."""
    content: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return content


def shape(name: str) -> ModelShape:
    """Return the shape read from that file."""
    return shape_from_config(config(name), name)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("smollm2-135m", 0.135e9),
        ("llama-3.1-8b", 8.03e9),
        ("llama-3.1-70b", 70.6e9),
        ("llama-3.1-405b", 405e9),
        ("qwen3-32b", 32.8e9),
        ("qwen3-235b-a22b", 235e9),
        ("deepseek-r1", 671e9),
        ("gpt-oss-120b", 116.83e9),
    ],
)
def test_parameters_are_the_published_ones(name: str, published: float) -> None:
    """Within one percent of what the model's card says."""
    assert shape(name).parameters == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    ("name", "published", "counts_embedding"),
    [
        ("deepseek-r1", 36.6e9, False),  # DeepSeek-V3's README_WEIGHTS: "including 0.9B for the output head"
        ("gpt-oss-120b", 5.13e9, False),  # its model card counts the unembedding, not the embedding
        ("qwen3-235b-a22b", 22e9, True),  # Qwen counts both
    ],
)
def test_active_parameters_are_the_published_ones(name: str, published: float, counts_embedding: bool) -> None:  # noqa: FBT001 - from the table
    """Within one percent, counted as each maker counts."""
    model = shape(name)
    embedding = model.parameters_by_part[WeightGroup.EMBEDDING] if counts_embedding else 0
    assert model.active_parameters + embedding == pytest.approx(published, rel=0.01)


def test_every_parameter_of_a_dense_model_is_active_but_its_embedding() -> None:
    """Only a tied embedding is multiplied with: as the output head."""
    llama, small = shape("llama-3.1-8b"), shape("smollm2-135m")
    assert llama.active_parameters == llama.parameters - 128256 * 4096
    assert small.active_parameters == small.parameters


@pytest.mark.parametrize("name", sorted(KNOWN_CONFIGS))
def test_a_model_known_by_name_is_the_published_one(name: str) -> None:
    """The few keys kept in the product give the very shape of the whole file."""
    assert known_model(name) == shape(name)
    assert name in CHECKPOINTS


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("llama-3.1-8b", 2 * 32 * 8 * 128 * 2),
        ("llama-3.1-70b", 2 * 80 * 8 * 128 * 2),
        ("qwen3-32b", 2 * 64 * 8 * 128 * 2),
        ("deepseek-r1", 61 * (512 + 64) * 2),  # one latent and one position part a layer, for all heads
        ("smollm2-135m", 2 * 30 * 3 * 64 * 2),
    ],
)
def test_kv_bytes_of_a_token(name: str, per_token: int) -> None:
    """Keys and values of grouped-query attention, latents of multi-head latent attention."""
    model = shape(name)
    assert model.kv_bytes_per_token(BF16) == per_token
    assert model.kv_bytes(1000, FP8) == 1000 * per_token / 2


def test_layers_with_a_window_keep_no_more_than_that() -> None:
    """gpt-oss: every other layer looks 128 tokens back."""
    model = shape("gpt-oss-120b")
    assert model.attended(100) == 36 * 100
    assert model.attended(10_000) == 18 * 10_000 + 18 * 128
    assert model.kv_bytes(10_000, BF16) == (18 * 10_000 + 18 * 128) * 2 * 8 * 64 * 2


def test_weights_take_what_the_checkpoints_take() -> None:
    """BF16 is two bytes a parameter; gpt-oss's checkpoint is 60.8 GiB, DeepSeek-R1's FP8 one 671 GB and its tables."""
    assert shape("llama-3.1-70b").weight_bytes == 2 * shape("llama-3.1-70b").parameters
    assert shape("gpt-oss-120b").weight_bytes == pytest.approx(60.8 * 2**30, rel=0.01)
    assert shape("deepseek-r1").weight_bytes == pytest.approx(671e9 + 129280 * 7168 * 2, rel=0.01)
    assert shape("deepseek-r1").in_precision(NVFP4).weight_bytes == pytest.approx(654e9 * 4.5 / 8 + 17e9 * 2, rel=0.02)


def test_formats_are_read_from_the_quantisation_config() -> None:
    """What is left out of quantisation stays BF16."""
    oss, deepseek = shape("gpt-oss-120b"), shape("deepseek-r1")
    assert (oss.precision(WeightGroup.EXPERTS).name, oss.precision(WeightGroup.ATTENTION)) == ("mxfp4", BF16)
    for part in (WeightGroup.EXPERTS, WeightGroup.ATTENTION, WeightGroup.MLP):
        assert deepseek.precision(part).name == "fp8"
        assert deepseek.precision(part).rates == FP8.rates
    assert deepseek.precision(WeightGroup.HEAD) == BF16
    assert deepseek.weight_precision.name == "fp8"
    assert shape("llama-3.1-8b").weight_precision == BF16


def test_a_model_may_be_planned_in_another_format() -> None:
    """Linear layers change format, tables stay, and the shape itself is untouched."""
    model = shape("llama-3.1-70b")
    fp8 = model.in_precision(FP8)
    tables = 2 * 128256 * 8192
    small = model.parameters_by_part[WeightGroup.SMALL]
    assert fp8.weight_bytes == (model.parameters - tables - small) + 2 * (tables + small)
    assert fp8.parameters == model.parameters
    assert fp8.in_precision(BF16) == model
    assert model.in_precision(BF16) is model
    assert {model.in_precision(each).weight_precision for each in PRECISIONS.values()} == set(PRECISIONS.values())


@pytest.mark.parametrize(
    ("name", "tensor", "pipeline"),
    [
        ("smollm2-135m", [1, 3], [1, 2, 3, 5, 6]),
        ("llama-3.1-8b", [1, 2, 4, 8, 16, 32], [1, 2, 4, 8]),
        ("llama-3.1-70b", [1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 5, 8]),
        ("deepseek-r1", [1, 2, 4, 8, 16], [1]),  # 61 layers are prime
        ("qwen3-235b-a22b", [1, 2, 4, 8, 16, 32, 64], [1, 2]),
        ("qwen3-235b-a22b-fp8", [1, 2, 4], [1, 2]),  # experts of 1536 / 8 = 192 would cut a block of 128
    ],
)
def test_sizes_that_cut_a_model_evenly(name: str, tensor: list[int], pipeline: list[int]) -> None:
    """Heads, MLPs and scale blocks are never cut; stages get the same number of layers."""
    assert shape(name).tensor_sizes(64) == tensor
    assert shape(name).pipeline_sizes(8) == pipeline


def test_a_size_that_does_not_fit_is_told_why() -> None:
    """In words an operator can act on."""
    assert shape("smollm2-135m").why_not_tensor(2) == "9 attention heads are not divisible by 2"
    assert "scale block of 128" in shape("qwen3-235b-a22b-fp8").why_not_tensor(8)
    assert shape("qwen3-235b-a22b-fp8").why_not_tensor(8, experts_are_cut=False) == ""
    three = shape_from_config({**config("llama-3.1-8b"), "num_attention_heads": 24, "num_key_value_heads": 6}, "m")
    assert three.why_not_tensor(4) == "6 KV heads and 4 GPUs: neither divides the other"


def test_a_kv_head_is_never_cut() -> None:
    """More GPUs than KV heads each hold a whole one; a latent is held by all."""
    llama, deepseek = shape("llama-3.1-70b").attention, shape("deepseek-r1").attention
    assert [llama.kv_values_on_one_gpu(size) for size in (1, 4, 8, 16)] == [2048, 512, 256, 256]
    assert [deepseek.kv_values_on_one_gpu(size) for size in (1, 8)] == [576, 576]


def test_flops_of_a_token() -> None:
    """Two for each active parameter, and attention's share grows with what is looked at."""
    model = shape("llama-3.1-8b")
    assert model.flops_per_token(0) == 2 * model.active_parameters
    assert model.flops_per_token(1000) - model.flops_per_token(0) == 32 * 1000 * 4 * 32 * 128


def test_experts_touched_by_a_batch() -> None:
    """One token needs its own experts, very many tokens need all."""
    experts = shape("deepseek-r1").experts
    assert experts is not None
    assert experts.touched(1) == pytest.approx(8)
    assert experts.touched(10_000) == pytest.approx(256)
    assert 8 < experts.touched(4) < 32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not known here; known: llama"),
        ({"model_type": None, "text_config": {}}, "its text_config may be what you mean"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_hidden_layers": "32"}, "num_hidden_layers must be a whole number above 0; got '32'"),
        ({"vocab_size": -1}, "vocab_size must be"),
        ({"num_key_value_heads": 5}, "32 attention heads are not divisible by 5 KV heads"),
        ({"quantization_config": {"quant_method": "magic"}}, "quant_method 'magic' is not known here; known: fp8"),
        ({"sliding_window": 64, "layer_types": ["full_attention"]}, "layer_types must name each of the 32 layers"),
    ],
)
def test_a_config_that_cannot_be_read_is_told_why(changes: dict[str, Any], words: str) -> None:
    """Naming the key, what it holds and what would be right."""
    with pytest.raises(ModelShapeError, match="m: ") as caught:
        shape_from_config({**config("llama-3.1-8b"), **changes}, "m")
    assert words in str(caught.value)


def test_experts_that_cannot_be_are_refused() -> None:
    """A token cannot go to more experts than there are; a list is no config; an unknown name is told the known ones."""
    with pytest.raises(ModelShapeError, match="9 experts but there are 8"):
        shape_from_config({**config("qwen3-235b-a22b"), "num_experts": 8, "num_experts_per_tok": 9}, "m")
    with pytest.raises(ModelShapeError, match="holds an object; got list"):
        shape_from_config([], "m")
    with pytest.raises(ModelShapeError, match=r"known: smollm2-135m, llama-3\.1-8b"):
        known_model("gpt-5")
