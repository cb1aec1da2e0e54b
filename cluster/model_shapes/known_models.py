"""Models known by name: the keys of each one's published `config.json` that its shape depends on."""

import functools
from collections.abc import Mapping
from typing import Any, Final

from cluster.errors import ModelShapeError
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape


def _llama(hidden: int, width: int, heads: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "num_hidden_layers": layers,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    }


_QWEN3_235B: Final = {
    "model_type": "qwen3_moe",
    "hidden_size": 4096,
    "moe_intermediate_size": 1536,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_hidden_layers": 94,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
}
_FP8_BLOCKS: Final = {"quant_method": "fp8", "weight_block_size": [128, 128]}

KNOWN_CONFIGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "num_hidden_layers": 30,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "llama-3.1-8b": _llama(4096, 14336, 32, 32),
    "llama-3.1-70b": _llama(8192, 28672, 64, 80),
    "llama-3.1-405b": _llama(16384, 53248, 128, 126),
    "qwen3-32b": {
        "model_type": "qwen3",
        "hidden_size": 5120,
        "intermediate_size": 25600,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_hidden_layers": 64,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
    },
    "qwen3-235b-a22b": _QWEN3_235B,
    "qwen3-235b-a22b-fp8": {**_QWEN3_235B, "quantization_config": _FP8_BLOCKS},
    "deepseek-r1": {
        "model_type": "deepseek_v3",
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "first_k_dense_replace": 3,
        "num_attention_heads": 128,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "num_hidden_layers": 61,
        "num_nextn_predict_layers": 1,
        "vocab_size": 129280,
        "max_position_embeddings": 163840,
        "quantization_config": _FP8_BLOCKS,
    },
    "gpt-oss-120b": {
        "model_type": "gpt_oss",
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "attention_bias": True,
        "sliding_window": 128,
        "num_hidden_layers": 36,
        "vocab_size": 201088,
        "max_position_embeddings": 131072,
        "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    },
}
"""Keys of each model's `config.json` that its shape depends on, by the model's name."""


CHECKPOINTS: Final[Mapping[str, str]] = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "llama-3.1-70b": "meta-llama/Llama-3.1-70B-Instruct",
    "llama-3.1-405b": "meta-llama/Llama-3.1-405B-Instruct",
    "qwen3-32b": "Qwen/Qwen3-32B",
    "qwen3-235b-a22b": "Qwen/Qwen3-235B-A22B",
    "qwen3-235b-a22b-fp8": "Qwen/Qwen3-235B-A22B-FP8",
    "deepseek-r1": "deepseek-ai/DeepSeek-R1",
    "gpt-oss-120b": "openai/gpt-oss-120b",
}
"""Checkpoint of each model on Hugging Face, by the model's name."""

REASONING: Final = frozenset({"qwen3-32b", "qwen3-235b-a22b", "qwen3-235b-a22b-fp8", "deepseek-r1", "gpt-oss-120b"})
"""Models that reason before they answer, so that some answers are many times as long as others."""


@functools.cache
def known_model(name: str) -> ModelShape:
    """Return the shape of the model called `name`.

    Raises:
        ModelShapeError: no model of that name is known.
    """
    if name not in KNOWN_CONFIGS:
        raise ModelShapeError(f"no model {name!r} is known here; known: {', '.join(KNOWN_CONFIGS)}")
    return shape_from_config(KNOWN_CONFIGS[name], name)
