"""Model families against what their makers publish: parameters, active parameters, weights and KV cache.

Configs are the published ones, by the keys that a shape depends on.
"""

from typing import Any, Final

import pytest

from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import BF16, FP8

_QWEN_TOWER: Final = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}
_QWEN3_5_TOWER: Final = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304}
_FP8: Final = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
_LLAMA4_TOWER: Final = {
    "hidden_size": 1408,
    "intermediate_size": 5632,
    "num_hidden_layers": 34,
    "image_size": 336,
    "patch_size": 14,
    "vision_output_dim": 4096,
}
_LLAMA4: Final = {
    "model_type": "llama4_text",
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_experts_per_tok": 1,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_hidden_layers": 48,
    "vocab_size": 202048,
}
_LATENT: Final = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "n_shared_experts": 1, "num_experts_per_tok": 8}
_DEEPSEEK: Final = {
    **_LATENT,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "num_hidden_layers": 61,
}
_KIMI: Final = {
    **_DEEPSEEK,
    "model_type": "kimi_k2",
    "n_routed_experts": 384,
    "first_k_dense_replace": 1,
    "num_attention_heads": 64,
    "vocab_size": 163840,
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True},
                "input_activations": None,
            }
        },
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
    },
}
_GLM4: Final = {"model_type": "glm4_moe", "n_shared_experts": 1, "num_experts_per_tok": 8, "head_dim": 128}

CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "gemma-3-27b": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 5376,
            "intermediate_size": 21504,
            "num_attention_heads": 32,
            "num_key_value_heads": 16,
            "head_dim": 128,
            "num_hidden_layers": 62,
            "sliding_window": 1024,
        },
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "image_size": 896,
            "patch_size": 14,
        },
    },
    "llama-4-scout": {
        "model_type": "llama4",
        "text_config": {**_LLAMA4, "num_local_experts": 16, "interleave_moe_layer_step": 1},
        "vision_config": _LLAMA4_TOWER,
    },
    "llama-4-maverick": {
        "model_type": "llama4",
        "text_config": {**_LLAMA4, "num_local_experts": 128, "interleave_moe_layer_step": 2},
        "vision_config": _LLAMA4_TOWER,
    },
    "qwen3-next-80b": {
        "model_type": "qwen3_next",
        "hidden_size": 2048,
        "intermediate_size": 5120,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts": 512,
        "num_experts_per_tok": 10,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "num_hidden_layers": 48,
        "vocab_size": 151936,
    },
    "qwen2.5-vl-7b": {
        "model_type": "qwen2_5_vl",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "num_hidden_layers": 28,
        "vocab_size": 152064,
        "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
    },
    "qwen3-vl-8b": {
        "model_type": "qwen3_vl",
        "text_config": {
            "model_type": "qwen3_vl_text",
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_hidden_layers": 36,
            "vocab_size": 151936,
        },
        "vision_config": _QWEN_TOWER,
    },
    "qwen3-vl-235b": {
        "model_type": "qwen3_vl_moe",
        "text_config": {
            "model_type": "qwen3_vl_moe_text",
            "hidden_size": 4096,
            "moe_intermediate_size": 1536,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_attention_heads": 64,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "num_hidden_layers": 94,
            "vocab_size": 151936,
        },
        "vision_config": _QWEN_TOWER,
    },
    "qwen3.5-35b": {
        "model_type": "qwen3_5_moe",
        "text_config": {
            "model_type": "qwen3_5_moe_text",
            "hidden_size": 2048,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "num_experts": 256,
            "num_experts_per_tok": 8,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "num_hidden_layers": 40,
            "vocab_size": 248320,
        },
        "vision_config": _QWEN3_5_TOWER,
    },
    "qwen3.5-397b": {
        "model_type": "qwen3_5_moe",
        "text_config": {
            "model_type": "qwen3_5_moe_text",
            "hidden_size": 4096,
            "moe_intermediate_size": 1024,
            "shared_expert_intermediate_size": 1024,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "num_attention_heads": 32,
            "num_key_value_heads": 2,
            "linear_num_value_heads": 64,
            "num_hidden_layers": 60,
            "vocab_size": 248320,
        },
        "vision_config": _QWEN3_5_TOWER,
    },
    "glm-4.5": {
        **_GLM4,
        "hidden_size": 5120,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "n_routed_experts": 160,
        "first_k_dense_replace": 3,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "num_hidden_layers": 92,
        "vocab_size": 151552,
        "attention_bias": True,
        "use_qk_norm": True,
    },
    "glm-4.5-air": {
        **_GLM4,
        "hidden_size": 4096,
        "intermediate_size": 10944,
        "moe_intermediate_size": 1408,
        "n_routed_experts": 128,
        "first_k_dense_replace": 1,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "num_hidden_layers": 46,
        "vocab_size": 151552,
        "attention_bias": True,
    },
    "deepseek-v3.2": {
        **_DEEPSEEK,
        "model_type": "deepseek_v32",
        "n_routed_experts": 256,
        "first_k_dense_replace": 3,
        "num_attention_heads": 128,
        "vocab_size": 129280,
        "index_n_heads": 64,
        "index_head_dim": 128,
        "index_topk": 2048,
        "quantization_config": _FP8,
    },
    "glm-5": {
        **_LATENT,
        "model_type": "glm_moe_dsa",
        "hidden_size": 6144,
        "intermediate_size": 12288,
        "moe_intermediate_size": 2048,
        "n_routed_experts": 256,
        "first_k_dense_replace": 3,
        "num_attention_heads": 64,
        "q_lora_rank": 2048,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "num_hidden_layers": 78,
        "vocab_size": 154880,
        "index_n_heads": 32,
        "index_head_dim": 128,
        "index_topk": 2048,
    },
    "kimi-k2.5": {
        "model_type": "kimi_k25",
        "text_config": _KIMI,
        "vision_config": {
            "vt_hidden_size": 1152,
            "vt_intermediate_size": 4304,
            "vt_num_hidden_layers": 27,
            "init_pos_emb_height": 64,
            "init_pos_emb_width": 64,
            "patch_size": 14,
            "mm_hidden_size": 1152,
        },
        "tie_word_embeddings": False,
    },
    "minimax-m2": {
        "model_type": "minimax_m2",
        "hidden_size": 3072,
        "intermediate_size": 1536,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_hidden_layers": 62,
        "vocab_size": 200064,
        "quantization_config": {**_FP8, "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]},
    },
    "mistral-small-3.1": {
        "model_type": "mistral3",
        "text_config": {
            "model_type": "mistral",
            "hidden_size": 5120,
            "intermediate_size": 32768,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "num_hidden_layers": 40,
            "vocab_size": 131072,
        },
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "patch_size": 14,
        },
    },
    "gpt-oss-20b": {
        "model_type": "gpt_oss",
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "attention_bias": True,
        "sliding_window": 128,
        "num_hidden_layers": 24,
        "vocab_size": 201088,
        "quantization_config": {"quant_method": "mxfp4"},
    },
}


def shape(name: str) -> ModelShape:
    """Return the shape of a published config."""
    return shape_from_config(CONFIGS[name], name)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("gemma-3-27b", 27.432e9),  # safetensors of google/gemma-3-27b-it: 27.4 B
        ("llama-4-scout", 108.6e9),  # safetensors of meta-llama/Llama-4-Scout-17B-16E: 109 B
        ("llama-4-maverick", 401.6e9),  # safetensors of meta-llama/Llama-4-Maverick-17B-128E: 402 B
        ("qwen3-next-80b", 80e9),  # model card: "80B in total"
        ("qwen2.5-vl-7b", 8.29e9),  # safetensors of Qwen/Qwen2.5-VL-7B-Instruct: 8.29 B
        ("qwen3-vl-8b", 8.77e9),  # safetensors of Qwen/Qwen3-VL-8B-Instruct: 8.77 B
        ("qwen3-vl-235b", 236e9),  # safetensors of Qwen/Qwen3-VL-235B-A22B-Instruct: 236 B
        ("qwen3.5-35b", 35e9),  # model card: "35B in total"
        ("qwen3.5-397b", 397e9),  # model card: "397B in total"
        ("glm-4.5", 355e9),  # GLM-4.5 report, table 1
        ("glm-4.5-air", 106e9),  # GLM-4.5 report, table 1
        ("deepseek-v3.2", 671e9),  # README_WEIGHTS of DeepSeek-V3, to which V3.2 adds 0.9 B of indexers
        ("glm-5", 744e9),  # GLM-5 report, table of sizes
        ("kimi-k2.5", 1026e9),  # safetensors of moonshotai/Kimi-K2-Instruct: 1.03 T; card of K2.5: "1T"
        ("minimax-m2", 230e9),  # model card: "230 billion total parameters"
        ("mistral-small-3.1", 24.0e9),  # safetensors of mistralai/Mistral-Small-3.1-24B: 24.0 B
        ("gpt-oss-20b", 20.9e9),  # model card, table 1: 20.91 B
    ],
)
def test_parameters_are_the_published_ones(name: str, published: float) -> None:
    """Within one percent, what looks at images included."""
    assert shape(name).parameters == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    ("name", "published", "rounding", "tables"),
    [
        ("llama-4-scout", 17e9, 0.5e9, 2),  # model card: "17B active"
        ("llama-4-maverick", 17e9, 0.5e9, 2),
        ("qwen3-vl-235b", 22e9, 0.5e9, 2),  # A22B
        ("qwen3.5-35b", 3e9, 0.5e9, 1),  # A3B
        ("qwen3.5-397b", 17e9, 0.5e9, 2),  # A17B
        ("qwen3-next-80b", 3e9, 0.5e9, 0),  # A3B; "3.9B" with both tables in its blog
        ("glm-4.5", 32e9, 0.5e9, 0),  # report, table 1
        ("glm-4.5-air", 12e9, 0.5e9, 0),
        ("deepseek-v3.2", 37e9, 0.5e9, 1),  # model card of DeepSeek-V3: 37 B, its own count 36.6 with the head
        ("glm-5", 40e9, 0.5e9, 0),  # report
        ("kimi-k2.5", 32.6e9, 0.326e9, 2),  # Kimi K2 report, table 2: 32.6 B
        ("minimax-m2", 10e9, 0.5e9, 1),  # model card: "10 billion active"
        ("gpt-oss-20b", 3.61e9, 0.036e9, 1),  # model card, table 1
    ],
)
def test_active_parameters_are_the_published_ones(name: str, published: float, rounding: float, tables: int) -> None:
    """As each maker counts: with the output head (1), with the input embedding too (2), or neither (0).

    Within one percent where three digits are published, else as near as the published digits say.
    """
    model = shape(name)
    table = model.vocab * model.hidden
    assert model.active_parameters + (tables - 1) * table == pytest.approx(published, abs=rounding)


@pytest.mark.parametrize(
    ("name", "published", "precision"),
    [
        ("gpt-oss-20b", 12.8 * 2**30, "mxfp4"),  # model card, table 1: checkpoint size 12.8 GiB
        ("kimi-k2.5", 595e9, "int4"),  # 594 GB of Kimi-K2-Thinking, whose language model it has, and a tower of 0.5 B
        ("minimax-m2", 230e9, "fp8"),  # a byte for each published parameter
        ("qwen2.5-vl-7b", 16.6e9, "bf16"),  # two bytes for each, here and below
        ("gemma-3-27b", 54.9e9, "bf16"),
        ("mistral-small-3.1", 48.0e9, "bf16"),
    ],
)
def test_weights_take_what_is_published(name: str, published: float, precision: str) -> None:
    """Within one percent, in the precision that they are published in."""
    assert shape(name).weight_bytes == pytest.approx(published, rel=0.01)
    assert shape(name).weight_precision.name == precision


@pytest.mark.parametrize(
    ("name", "per_token", "at_32k"),
    [
        # 62 layers of 16 KV heads of 128; every sixth attends to all, the others to 1 024 tokens (report, section 2)
        ("gemma-3-27b", 62 * 2 * 16 * 128 * 2, (10 * 32768 + 52 * 1024) * 2 * 16 * 128 * 2),
        # every fourth layer attends to all, the others to chunks of 8 192 (no_rope_layer_interval)
        ("llama-4-scout", 48 * 2 * 8 * 128 * 2, (12 * 32768 + 36 * 8192) * 2 * 8 * 128 * 2),
        # 12 of 48 layers keep a cache; 36 a state: 32 heads of 128 x 128, and 3 inputs of a convolution over 8 192
        ("qwen3-next-80b", 12 * 2 * 2 * 256 * 2, 12 * 2 * 2 * 256 * 2 * 32768 + 36 * (32 * 128**2 + 3 * 8192) * 2),
        ("qwen3.5-397b", 15 * 2 * 2 * 256 * 2, 15 * 2 * 2 * 256 * 2 * 32768 + 45 * (64 * 128**2 + 3 * 12288) * 2),
        # latents of 576 values; an indexer's 128 FP8 values and a scale of 4 bytes (vLLM's DeepseekV32IndexerCache)
        ("deepseek-v3.2", 61 * (576 * 2 + 132), 61 * (576 * 2 + 132) * 32768),
        ("glm-5", 78 * (576 * 2 + 132), 78 * (576 * 2 + 132) * 32768),
        ("kimi-k2.5", 61 * 576 * 2, 61 * 576 * 2 * 32768),
        ("glm-4.5", 92 * 2 * 8 * 128 * 2, 92 * 2 * 8 * 128 * 2 * 32768),
        ("minimax-m2", 62 * 2 * 8 * 128 * 2, 62 * 2 * 8 * 128 * 2 * 32768),
        ("mistral-small-3.1", 40 * 2 * 8 * 128 * 2, 40 * 2 * 8 * 128 * 2 * 32768),
        ("qwen3-vl-235b", 94 * 2 * 4 * 128 * 2, 94 * 2 * 4 * 128 * 2 * 32768),
        ("qwen2.5-vl-7b", 28 * 2 * 4 * 128 * 2, 28 * 2 * 4 * 128 * 2 * 32768),
        ("gpt-oss-20b", 24 * 2 * 8 * 64 * 2, (12 * 32768 + 12 * 128) * 2 * 8 * 64 * 2),
    ],
)
def test_kv_bytes_of_a_token_and_of_a_long_sequence(name: str, per_token: int, at_32k: int) -> None:
    """Windows, states of linear attention, latents and an indexer's keys, each as vLLM 0.32 keeps it."""
    model = shape(name)
    assert model.kv_bytes_per_token(BF16) == per_token
    assert model.kv_bytes(32768, BF16) == at_32k


def test_sparse_attention_looks_at_2048_tokens_but_keeps_all() -> None:
    """And its indexer scores all: its work grows with the context, attention's does not."""
    model = shape("deepseek-v3.2")
    assert model.attended(1000) == 61 * 1000
    assert model.attended(100_000) == 61 * 2048
    assert model.kept(100_000) == 61 * 100_000
    grown = model.flops_per_token(200_000) - model.flops_per_token(100_000)
    assert grown == 61 * 2 * 64 * 128 * 100_000
    assert model.kv_bytes(1000, FP8) == 61 * 1000 * (576 + 132)  # an indexer's keys have their own format


def test_heads_of_linear_attention_are_not_cut() -> None:
    """Sixteen heads of queries and keys: at most 16 GPUs, though more may share the others' MLPs."""
    model = shape("qwen3.5-397b")
    assert model.tensor_sizes(32) == [1, 2, 4, 8, 16]
    assert model.why_not_tensor(32) == "16 heads of linear attention are not divisible by 32"


def test_a_config_without_its_tower_is_planned_and_warned_of() -> None:
    """What looks at images is then not counted; a language model alone is warned of nothing."""
    whole = CONFIGS["qwen2.5-vl-7b"]
    blind = shape_from_config({key: value for key, value in whole.items() if key != "vision_config"}, "m")
    assert blind.cautions == ("the config has no vision_config: what looks at images is not counted",)
    assert blind.parameters == shape("qwen2.5-vl-7b").parameters - shape("qwen2.5-vl-7b").vision_parameters
    assert shape("qwen2.5-vl-7b").cautions == shape("qwen3-next-80b").cautions == ()
