"""What a config says of its layers: kinds, windows, experts, and where it says what of a wrapped model."""

from typing import Any

import pytest

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.checkpoint.experts import layers_with_experts
from cluster.checkpoint.families import FAMILIES, WRAPPERS, read_files
from cluster.checkpoint.layer_kinds import LINEAR, windows
from cluster.errors import ModelShapeError
from cluster.model_shapes.model_config import shape_from_config

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 100,
}


def keys(family: str, **config: object) -> ConfigKeys:
    """Return the keys of a language model, with its family's defaults."""
    return read_files({"model_type": family, **config}, "m").text


@pytest.mark.parametrize(
    ("family", "config", "expected"),
    [
        ("llama", {"sliding_window": 64}, [64, 64, 64, 64]),
        ("mistral", {"sliding_window": None}, [None] * 4),
        ("qwen2", {"sliding_window": 64, "max_window_layers": 2}, [None] * 4),
        ("qwen2", {"sliding_window": 64, "max_window_layers": 2, "use_sliding_window": True}, [None, None, 64, 64]),
        ("gpt_oss", {"sliding_window": 64}, [64, None, 64, None]),
        (
            "gpt_oss",
            {"sliding_window": 64, "layer_types": ["full_attention"] * 3 + ["sliding_attention"]},
            [None] * 3 + [64],
        ),
        ("gemma3_text", {"sliding_window": 64, "sliding_window_pattern": 2}, [64, None, 64, None]),
        ("gemma3_text", {}, [4096] * 4),
        ("llama4_text", {}, [8192, 8192, 8192, None]),
        ("llama4_text", {"no_rope_layers": [1, 0, 1, 0]}, [8192, None, 8192, None]),
        ("llama4_text", {"layer_types": ["chunked_attention", "full_attention"] * 2}, [8192, None] * 2),
        ("qwen3_next", {}, [LINEAR, LINEAR, LINEAR, None]),
        ("qwen3_5_text", {"full_attention_interval": 2}, [LINEAR, None, LINEAR, None]),
        ("qwen3_5_moe_text", {"layer_types": ["full_attention", "linear_attention"] * 2}, [None, LINEAR] * 2),
    ],
)
def test_what_each_layer_attends_to(family: str, config: dict[str, Any], expected: list[int | None]) -> None:
    """By the file's own list, else by the family's rule."""
    assert list(windows(keys(family, **config), family, 4)) == expected


@pytest.mark.parametrize(
    ("family", "config", "expected"),
    [
        ("llama", {}, [False] * 4),
        ("mixtral", {}, [True] * 4),
        ("deepseek_v3", {"first_k_dense_replace": 1}, [False, True, True, True]),
        ("glm4_moe", {}, [False, True, True, True]),
        ("deepseek_v32", {}, [False, False, False, True]),
        ("qwen3_moe", {"mlp_only_layers": [2], "decoder_sparse_step": 1}, [True, True, False, True]),
        ("qwen3_next", {"decoder_sparse_step": 2}, [False, True, False, True]),
        ("llama4_text", {"interleave_moe_layer_step": 2}, [False, True, False, True]),
        ("llama4_text", {"moe_layers": [0]}, [True, False, False, False]),
    ],
)
def test_which_layers_have_experts(family: str, config: dict[str, Any], expected: list[bool]) -> None:
    """First layers, every second one, or a list."""
    assert list(layers_with_experts(keys(family, **config), family, 4)) == expected


def test_a_wrapped_models_keys_are_found_where_they_are() -> None:
    """Under `text_config`, or in the file itself as Qwen2.5-VL has them; so is the quantisation."""
    awq = {"quant_method": "awq", "bits": 4, "group_size": 32, "modules_to_not_convert": ["visual"]}
    flat = shape_from_config({"model_type": "qwen2_5_vl", **SMALL, "quantization_config": awq}, "m")
    nested = {"model_type": "qwen2_5_vl", "text_config": {"model_type": "qwen2_5_vl_text", **SMALL}}
    assert shape_from_config({**nested, "quantization_config": awq}, "m") == flat
    nested["text_config"] = {**SMALL, "quantization_config": awq}
    assert shape_from_config(nested, "m") == flat
    assert flat.weight_precision.name == "int4"


def test_the_language_models_own_word_on_tied_tables_counts() -> None:
    """Before the file's; where neither says, the family's default."""
    text = {"model_type": "kimi_k2", "tie_word_embeddings": False}
    assert not read_files({"model_type": "kimi_k25", "text_config": text, "tie_word_embeddings": True}, "m").is_tied
    assert read_files({"model_type": "qwen3_vl", "text_config": {}, "tie_word_embeddings": True}, "m").is_tied
    assert read_files({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, "m").is_tied


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"model_type": "mistral3", "text_config": {"model_type": "bert"}},
            "text_config's model_type 'bert' is not known",
        ),
        ({"model_type": "llava", "text_config": {}}, "model_type 'llava' is not known here; known: llama"),
        ({"model_type": ["llama"]}, "model_type ['llama'] is not known here"),
        (
            {"model_type": "qwen3_next", **SMALL, "layer_types": ["full_attention"]},
            "layer_types must name each of the 4",
        ),
        (
            {"model_type": "llama4", "text_config": {**SMALL, "no_rope_layers": [1]}},
            "no_rope_layers must name each of the 4",
        ),
        ({"model_type": "gemma3", "text_config": SMALL, "vision_config": {}}, "vision_config: hidden_size is missing"),
        (
            {
                "model_type": "glm_moe_dsa",
                **SMALL,
                "kv_lora_rank": 8,
                "q_lora_rank": 8,
                "qk_rope_head_dim": 4,
                "qk_nope_head_dim": 4,
                "v_head_dim": 4,
                "indexer_types": ["shared", "full", "full", "full"],
            },
            "indexer_types must be full or shared for each of the 4 layers, full for the first",
        ),
    ],
)
def test_what_is_not_known_is_refused_with_its_place(config: dict[str, Any], words: str) -> None:
    """By name, with what is known."""
    with pytest.raises(ModelShapeError, match="m: ") as caught:
        shape_from_config(config, "m")
    assert words in str(caught.value)


def test_wrappers_lead_to_families_that_are_known() -> None:
    """No wrapper names a language model that is then refused."""
    assert set(WRAPPERS.values()) <= set(FAMILIES)
