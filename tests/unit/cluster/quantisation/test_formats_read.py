"""Each way to say how weights are quantised: format, bits with scales and zero points, arithmetic, what is left out."""

from typing import Any

import pytest

from cluster.errors import ModelShapeError
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import BF16, Rate

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 4,
    "vocab_size": 1024,
}
MIXTURE = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "moe_intermediate_size": 768,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_hidden_layers": 4,
    "vocab_size": 1024,
}
BLOCK = [128, 128]
BLOCK_SCALE = 32 / (128 * 128)


def quantised(quantisation: dict[str, Any], model: dict[str, Any] = LLAMA) -> ModelShape:
    """Return the shape of a small model with that `quantization_config`."""
    return shape_from_config({**model, "quantization_config": quantisation}, "m")


def tensors(weights: dict[str, Any], layout: str = "", inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a compressed-tensors config with one group."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors",
        "format": layout,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
TOKENS = {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True}
FP8_TOKENS = {**TOKENS, "type": "float"}
NV4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": True}


@pytest.mark.parametrize(
    ("quantisation", "name", "bits", "rate"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", 4 + 20 / 128, Rate.BF16),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "int4", 4 + 20 / 32, Rate.BF16),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "int8-w8a16", 8 + 24 / 128, Rate.BF16),
        ({"quant_method": "gptq_marlin", "bits": 4, "group_size": -1}, "int4", 4 + 20 / 4096, Rate.BF16),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, "int4", 4 + 20 / 64, Rate.BF16),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128, "zero_point": False}, "int4", 4.125, Rate.BF16),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8", 8, Rate.FP8),
        ({"quant_method": "fp8", "weight_block_size": BLOCK}, "fp8", 8 + BLOCK_SCALE, Rate.FP8),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, "fp8", 8 + 32 / 4096, Rate.FP8),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}, "fp8", 8, Rate.FP8),
        (
            {"quant_method": "modelopt", "quantization": {"quant_algo": "nvfp4", "exclude_modules": ["lm_head"]}},
            "nvfp4",
            4.5,
            Rate.FP4,
        ),
        (
            {"quant_method": "modelopt_fp4", "quant_algo": "W4A16_NVFP4", "ignore": ["lm_head"]},
            "nvfp4-w4a16",
            4.5,
            Rate.BF16,
        ),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8", "ignore": ["lm_head"]}, "mxfp8", 8.25, Rate.FP8),
        (tensors(INT4, "pack-quantized"), "int4", 4.125, Rate.BF16),
        (tensors({**INT4, "symmetric": False}, "pack-quantized"), "int4", 4 + 20 / 128, Rate.BF16),
        (tensors({**INT4, "num_bits": 3}, "pack-quantized"), "int3", 3.125, Rate.BF16),
        (tensors({**INT4, "num_bits": 8}, "pack-quantized"), "int8-w8a16", 8.125, Rate.BF16),
        (tensors(INT4, "pack-quantized", FP8_TOKENS), "int4-w4afp8", 4.125, Rate.FP8),
        (tensors(INT4, "pack-quantized", TOKENS), "int4-w4a8", 4.125, Rate.INT8),
        (
            tensors({"num_bits": 8, "type": "int", "strategy": "channel"}, "int-quantized", TOKENS),
            "int8",
            8 + 32 / 4096,
            Rate.INT8,
        ),
        (
            tensors({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized", FP8_TOKENS),
            "fp8",
            8 + 32 / 4096,
            Rate.FP8,
        ),
        (
            tensors(
                {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": BLOCK},
                "float-quantized",
                FP8_TOKENS,
            ),
            "fp8",
            8 + BLOCK_SCALE,
            Rate.FP8,
        ),
        (
            tensors({"num_bits": 8, "type": "float", "strategy": "tensor"}, "naive-quantized"),
            "fp8-w8a16",
            8,
            Rate.BF16,
        ),
        (tensors(NV4, "nvfp4-pack-quantized", NV4), "nvfp4", 4.5, Rate.FP4),
        (tensors(NV4, "nvfp4-pack-quantized"), "nvfp4-w4a16", 4.5, Rate.BF16),
        (
            tensors({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, "mxfp4-pack-quantized"),
            "mxfp4",
            4.25,
            Rate.BF16,
        ),
    ],
)
def test_format_bits_and_arithmetic_are_those_of_the_method(
    quantisation: dict[str, Any], name: str, bits: float, rate: Rate
) -> None:
    """In MLP and attention alike; the output head and the embedding stay BF16."""
    model = quantised(quantisation)
    for part in (WeightGroup.MLP, WeightGroup.ATTENTION):
        assert model.precision(part).name == name
        assert model.precision(part).rates[0] == rate
        assert model.precision(part).bits == pytest.approx(bits, rel=4e-3)  # scales of whole outputs depend on sizes
    assert (model.precision(WeightGroup.HEAD), model.precision(WeightGroup.EMBEDDING)) == (BF16, BF16)
    assert model.weight_precision.name == name
    assert sum(size for _, size in model.formats) == pytest.approx(model.weight_bytes)
    assert model.formats[0][0].startswith(f"{name}, a scale for each ")


def test_one_ignored_layer_leaves_the_others_quantised() -> None:
    """One layer of four keeps its attention in BF16: a quarter of it, and no more."""
    ignored = [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]
    group = {"weights": {"num_bits": 8, "type": "float"}}
    model = quantised({"quant_method": "compressed-tensors", "config_groups": {"g": group}, "ignore": ignored})
    assert model.precision(WeightGroup.ATTENTION).name == "fp8"
    assert model.precision(WeightGroup.ATTENTION).bits == pytest.approx((3 * 8 + 16) / 4, rel=1e-4)
    assert model.precision(WeightGroup.MLP).bits == pytest.approx(8, rel=1e-4)
    assert model.cautions == ()


def test_a_layer_of_which_only_some_matrices_are_quantised_is_warned_of() -> None:
    """VLLM joins queries, keys and values into one matrix and refuses two formats in it."""
    model = quantised(
        {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.2.self_attn.q_proj", "model.layers.3.mlp"]}
    )
    [caution] = model.cautions
    assert "refuses model.layers.2.self_attn.qkv_proj" in caution


def test_fp8_activations_with_four_bit_weights_are_warned_of() -> None:
    """VLLM's one kernel for them runs on one generation of GPUs."""
    [caution] = quantised(tensors(INT4, "pack-quantized", FP8_TOKENS)).cautions
    assert "on Hopper alone" in caution
    assert quantised(tensors(INT4, "pack-quantized", TOKENS)).cautions == ()


@pytest.mark.parametrize(
    "quantisation",
    [
        {"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["self_attn"]},
        {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.*.self_attn"]},
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {r"-:.*\.self_attn\..*": {}}},
        {
            "quant_method": "gptq",
            "bits": 4,
            "group_size": 128,
            "modules_in_block_to_quantize": [["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]],
        },
        {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.*.self_attn*"]},
        {**tensors(INT4, "pack-quantized"), "ignore": ["lm_head", "re:.*self_attn.*"]},
        {**tensors(INT4, "pack-quantized"), "config_groups": {"g": {"targets": ["re:.*mlp.*"], "weights": INT4}}},
    ],
)
def test_attention_is_left_out_in_every_quantisers_own_words(quantisation: dict[str, Any]) -> None:
    """Parts of names, starts, regular expressions, wildcards, and lists of what is quantised instead."""
    model = quantised(quantisation)
    assert model.precision(WeightGroup.ATTENTION) == BF16
    assert model.precision(WeightGroup.MLP).bits < 9


def test_groups_of_modules_may_differ() -> None:
    """FP8 attention beside INT4 experts, in compressed-tensors' and in ModelOpt's words; a name goes before a class."""
    fp8 = {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "input_activations": FP8_TOKENS}
    groups = {
        "experts": {"targets": ["Linear"], "weights": INT4, "format": "pack-quantized"},
        "attention": {"targets": ["re:.*self_attn.*"], **fp8, "format": "float-quantized"},
        "cache": {"targets": ["Qwen3MoeAttention"], "input_activations": FP8_TOKENS},
    }
    model = quantised({"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["lm_head"]}, MIXTURE)
    assert model.precision(WeightGroup.ATTENTION).name == "fp8"
    assert model.precision(WeightGroup.EXPERTS).name == "int4"
    layers = {
        **{
            f"model.layers.{layer}.self_attn.{name}_proj": {"quant_algo": "FP8"} for layer in range(4) for name in "qkv"
        },
        **{f"model.layers.{layer}.mlp.experts.0.gate_proj": {"quant_algo": "NVFP4"} for layer in range(4)},
    }
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    model = quantised(mixed, MIXTURE)
    assert model.precision(WeightGroup.EXPERTS).name == "nvfp4"
    attention = model.attention
    o_proj, all_of_it = attention.heads * attention.value_dim * model.hidden, attention.parameters
    assert model.precision(WeightGroup.ATTENTION).bits == pytest.approx(8 + 8 * o_proj / all_of_it, rel=1e-3)


def test_mxfp4_is_of_experts_alone() -> None:
    """VLLM leaves all linear layers of such a checkpoint as they are, named or not."""
    model = quantised({"quant_method": "mxfp4"}, MIXTURE)
    assert model.precision(WeightGroup.EXPERTS).name == "mxfp4"
    assert model.precision(WeightGroup.ATTENTION) == BF16


def test_some_layers_may_have_more_bits() -> None:
    """GPTQModel's `dynamic`: layers 2 and 3 have eight bits in groups of 64; the first rule that fits counts."""
    rules = {r"+:model\.layers\.[23]\.": {"bits": 8, "group_size": 64}, r".*": {"bits": 4}}
    model = quantised({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": rules})
    assert model.precision(WeightGroup.MLP).bits == pytest.approx((4 + 20 / 128 + 8 + 24 / 64) / 2)
    assert [title for title, _ in model.formats][:2] == [
        "int8-w8a16, a scale for each 64 values",
        "int4, a scale for each 128 values",
    ]


def test_a_quantised_head_counts() -> None:
    """Where the config says so (GPTQ, AWQ), or does not leave it out (ModelOpt)."""
    plain = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    assert quantised({**plain, "lm_head": True}).precision(WeightGroup.HEAD).name == "int4"
    assert quantised({"quant_method": "modelopt", "quant_algo": "FP8"}).precision(WeightGroup.HEAD).name == "fp8"
    tied = shape_from_config(
        {**LLAMA, "tie_word_embeddings": True, "quantization_config": {**plain, "lm_head": True}}, "m"
    )
    assert tied.precision(WeightGroup.HEAD) == BF16


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}


@pytest.mark.parametrize(
    ("quantisation", "words"),
    [
        ({"quant_method": "gguf"}, "vLLM 0.32 does not load GGUF itself: that is left to a plugin (vllm-gguf-plugin)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "vLLM 0.32 no longer loads bitsandbytes checkpoints"),
        ({"quant_method": "magic"}, "quant_method 'magic' is not known here; known: fp8, fbgemm_fp8"),
        ({"quant_method": "quark"}, "quant_method 'quark' is vLLM's, but its sizes are not known here"),
        ({"bits": 4}, "quant_method '' is not known here"),
        ({**GPTQ, "bits": 2}, "GPTQ with 2 bits is not served by vLLM 0.32, which has kernels for 4 and 8"),
        ({**GPTQ, "bits": 3}, "GPTQ with 3 bits is not served"),
        ({**GPTQ, "group_size": 256}, "GPTQ with groups of 256 is not served by vLLM 0.32, whose kernels take -1, 32"),
        ({**GPTQ, "group_size": None}, "group_size is missing"),
        ({**GPTQ, "group_size": 0}, "group_size must be a whole number above 0, or -1 for one group; got 0"),
        ({**GPTQ, "sym": False}, "sym is false: vLLM 0.32 serves symmetric GPTQ alone"),
        ({**GPTQ, "desc_act": True}, "desc_act is true: vLLM 0.32 no longer serves GPTQ whose groups are ordered"),
        ({**GPTQ, "dynamic": {"+:(": {"bits": 8}}}, "dynamic has '(', which is no regular expression"),
        ({**GPTQ, "dynamic": {"+:a": {"bits": 5}}}, "GPTQ with 5 bits is not served"),
        ({"quant_method": "awq", "bits": 8, "group_size": 128}, "AWQ with 8 bits is not served"),
        ({"quant_method": "awq", "bits": 4}, "q_group_size or group_size is missing"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size must be two whole numbers; got [128]"),
        (
            {"quant_method": "fp8", "weight_block_size": BLOCK, "activation_scheme": "static"},
            "vLLM 0.32 serves FP8 in blocks with dynamic activations alone",
        ),
        ({"quant_method": "fp8", "store_dtype": "int5"}, "store_dtype 'int5' is not known here"),
        (
            {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"},
            "ModelOpt's quant_algo 'W4A8_AWQ' is not served by vLLM 0.32; served: FP8",
        ),
        ({"quant_method": "modelopt"}, "quant_algo is missing"),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "ignore": []},
            "MIXED_PRECISION without quantized_layers",
        ),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {"model.layers.0": {"quant_algo": "INT4_AWQ"}},
            },
            "quantized_layers: model.layers.0: ModelOpt's quant_algo 'INT4_AWQ' is not served",
        ),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 32}, "NVFP4 has groups of 16; got"),
        ({"quant_method": "compressed-tensors"}, "config_groups says of no weights how they are quantised"),
        (
            tensors(INT4, "marlin-24"),
            "weights of int 4 by group with 16 bit activations as marlin-24: vLLM 0.32 has no",
        ),
        (tensors({"num_bits": 4, "type": "float"}), "weights of float 4 by tensor with 16 bit activations: vLLM 0.32"),
        (tensors({**INT4, "num_bits": 9}, "pack-quantized"), "vLLM 0.32 has no kernel for them"),
        (tensors({**INT4, "group_size": None}, "pack-quantized"), "strategy is group without a group_size"),
        (tensors({"type": "int"}), "config_groups: group_0: weights: num_bits is missing"),
    ],
)
def test_what_is_not_known_or_not_served_is_refused_by_name(quantisation: dict[str, Any], words: str) -> None:
    """Never guessed: with the key, what it holds, and what would be right."""
    with pytest.raises(ModelShapeError, match="m: quantization_config: ") as caught:
        quantised(quantisation)
    assert words in str(caught.value)
