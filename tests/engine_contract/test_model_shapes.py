"""Model shapes against `transformers`: the same configs, built without memory, have exactly as many parameters."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from cluster.model_shapes.model_config import shape_from_config

CONFIGS = Path(__file__).parents[1] / "model_configs"
NO_PARAMETERS_THERE = {"quantization_config", "auto_map", "architectures", "transformers_version"}

SMALL = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 100}
GQA = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 96}
LATENT = {
    **SMALL,
    "num_key_value_heads": 4,
    "intermediate_size": 96,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama with biases": {**GQA, "model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama with its own head length": {**GQA, "model_type": "llama", "head_dim": 32, "tie_word_embeddings": True},
    "mistral with a window": {**GQA, "model_type": "mistral", "sliding_window": 32},
    "mixtral": {**GQA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "phi3": {**GQA, "model_type": "phi3", "pad_token_id": 0},
    "qwen2": {**GQA, "model_type": "qwen2"},
    "qwen3": {**GQA, "model_type": "qwen3", "head_dim": 32},
    "qwen3_moe with dense layers": {
        **GQA,
        "model_type": "qwen3_moe",
        "head_dim": 32,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "mlp_only_layers": [1],
        "decoder_sparse_step": 1,
    },
    "deepseek_v2 without query compression": {**LATENT, "model_type": "deepseek_v2", "q_lora_rank": None},
    "deepseek_v3": {**LATENT, "model_type": "deepseek_v3", "q_lora_rank": 12, "n_group": 2, "topk_group": 1},
    "gpt_oss": {
        **GQA,
        "model_type": "gpt_oss",
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "attention_bias": True,
        "sliding_window": 32,
    },
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
DELTA = {
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "num_hidden_layers": 5,
}
INDEXED = {**LATENT, "q_lora_rank": 12, "n_group": 2, "topk_group": 1, "index_n_heads": 2, "index_head_dim": 128}
QWEN_TOWER = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64}
SIGLIP = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
GEMMA = {**GQA, "head_dim": 32, "sliding_window": 32}
PADS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
FAMILIES |= {
    "gemma3_text": {**GEMMA, "model_type": "gemma3_text"},
    "llama4_text": {
        **GQA,
        "model_type": "llama4_text",
        "head_dim": 16,
        "intermediate_size_mlp": 128,
        "num_local_experts": 4,
        "num_hidden_layers": 4,
        "interleave_moe_layer_step": 2,
        **PADS,
    },
    "qwen3_next": {**GQA, **EXPERTS, **DELTA, "model_type": "qwen3_next", "shared_expert_intermediate_size": 40},
    "qwen3_5_text": {**GQA, **DELTA, "model_type": "qwen3_5_text"},
    "qwen3_5_moe_text": {**GQA, **EXPERTS, **DELTA, "model_type": "qwen3_5_moe_text"},
    "glm4_moe with norms of queries": {
        **GQA,
        "model_type": "glm4_moe",
        "head_dim": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "use_qk_norm": True,
        "attention_bias": True,
        **PADS,
    },
    "minimax_m2": {
        **GQA,
        "model_type": "minimax_m2",
        "head_dim": 32,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        **PADS,
    },
    "deepseek_v32": {**INDEXED, "model_type": "deepseek_v32"},
    "glm_moe_dsa": {**INDEXED, "model_type": "glm_moe_dsa", "first_k_dense_replace": 1, **PADS},
    "glm_moe_dsa with shared indexers": {
        **INDEXED,
        "model_type": "glm_moe_dsa",
        "first_k_dense_replace": 1,
        "indexer_types": ["full", "shared", "shared"],
        **PADS,
    },
    "ministral3": {**GQA, "model_type": "ministral3", "head_dim": 32, **PADS},
}
WRAPPED: dict[str, dict[str, Any]] = {
    "gemma3": {
        "model_type": "gemma3",
        "text_config": {**GEMMA, "model_type": "gemma3_text"},
        "vision_config": {
            **SIGLIP,
            "model_type": "siglip_vision_model",
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        "mm_tokens_per_image": 4,
    },
    "llama4": {
        "model_type": "llama4",
        "text_config": {**FAMILIES["llama4_text"]},
        "vision_config": {
            **SIGLIP,
            "model_type": "llama4_vision_model",
            "intermediate_size": 128,
            "vision_output_dim": 96,
            "projector_input_dim": 96,
            "projector_output_dim": 96,
            "image_size": 56,
        },
    },
    "mistral3": {
        "model_type": "mistral3",
        "text_config": {**GQA, "model_type": "mistral", "head_dim": 32, "tie_word_embeddings": False},
        "vision_config": {**SIGLIP, "model_type": "pixtral"},
        "tie_word_embeddings": False,
    },
    "qwen2_5_vl": {
        "model_type": "qwen2_5_vl",
        "text_config": {**GQA, "model_type": "qwen2_5_vl_text", **PADS},
        "vision_config": {**QWEN_TOWER, "model_type": "qwen2_5_vl"},
    },
    "qwen3_vl": {
        "model_type": "qwen3_vl",
        "text_config": {**GQA, "model_type": "qwen3_vl_text", "head_dim": 32, **PADS},
        "vision_config": {**QWEN_TOWER, "model_type": "qwen3_vl", "deepstack_visual_indexes": [0, 1]},
    },
    "qwen3_vl_moe": {
        "model_type": "qwen3_vl_moe",
        "text_config": {**GQA, **EXPERTS, "model_type": "qwen3_vl_moe_text", "head_dim": 32, **PADS},
        "vision_config": {**QWEN_TOWER, "model_type": "qwen3_vl_moe", "deepstack_visual_indexes": [0]},
        "tie_word_embeddings": False,
    },
    "qwen3_5": {
        "model_type": "qwen3_5",
        "text_config": {**FAMILIES["qwen3_5_text"]},
        "vision_config": {**QWEN_TOWER, "model_type": "qwen3_5_vision"},
    },
    "qwen3_5_moe": {
        "model_type": "qwen3_5_moe",
        "text_config": {**FAMILIES["qwen3_5_moe_text"]},
        "vision_config": {**QWEN_TOWER, "model_type": "qwen3_5_moe_vision"},
    },
    "kimi_k25": {
        "model_type": "kimi_k25",
        "text_config": {**FAMILIES["deepseek_v3"], "tie_word_embeddings": False},
        "vision_config": {
            "model_type": "kimi_k25_vision",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        "projection_hidden_size": 32,
        "tie_word_embeddings": False,
    },
}
"""Models that look at images too, each with its tower."""
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(CONFIGS.glob("*.json"))}


def parameters_of(config: dict[str, Any]) -> int:
    """Return how many parameters transformers' own class has for `config`."""
    torch = pytest.importorskip("torch", reason="transformers and torch come with the cpu or gpu extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, on import: of no concern to us
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: PLC0415 - takes seconds
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: PLC0415 - likewise

        plain = {key: value for key, value in config.items() if key not in NO_PARAMETERS_THERE}
        family = CONFIG_MAPPING[plain.pop("model_type")]
        with torch.device("meta"):
            maker = AutoModelForImageTextToText if "vision_config" in plain else AutoModelForCausalLM
            model = maker.from_config(family(**plain))
    return sum(parameter.numel() for parameter in model.parameters())


LARGE = {"deepseek-r1"}
"""Takes half a minute; `deepseek_v3` above is its family."""
CASES = [pytest.param(FILES[name], id=name, marks=[pytest.mark.long] if name in LARGE else []) for name in FILES]


SMALL_ONES = {**FAMILIES, **WRAPPED}


@pytest.mark.parametrize("config", [*CASES, *(pytest.param(SMALL_ONES[name], id=name) for name in SMALL_ONES)])
def test_parameters_are_those_of_transformers(config: dict[str, Any]) -> None:
    """To the last one."""
    assert shape_from_config(config, "m").parameters == parameters_of(config)
