"""Shapes of models by their ids on the Hugging Face hub, beside those that `rackserve plan` knows by name.

Keys are those of the published `config.json` files that a shape depends on.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from cluster.errors import ModelShapeError
from cluster.model_shapes.known_models import CHECKPOINTS, KNOWN_CONFIGS
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import FP8, NVFP4, Precision

_FP8_BLOCKS: Final = {"quant_method": "fp8", "weight_block_size": [128, 128]}
_R1: Final = KNOWN_CONFIGS["deepseek-r1"]
_KIMI_K2: Final = {
    **_R1,
    "model_type": "kimi_k2",
    "num_nextn_predict_layers": 0,
    "n_routed_experts": 384,
    "first_k_dense_replace": 1,
    "num_attention_heads": 64,
    "vocab_size": 163840,
    "max_position_embeddings": 262144,
}
_GLM_5: Final = {
    "model_type": "glm_moe_dsa",
    "hidden_size": 6144,
    "intermediate_size": 12288,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "num_attention_heads": 64,
    "q_lora_rank": 2048,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "v_head_dim": 256,
    "index_head_dim": 128,
    "index_n_heads": 32,
    "index_topk": 2048,
    "num_hidden_layers": 78,
    "vocab_size": 154880,
    "max_position_embeddings": 202752,
}
_QWEN3_5_397B: Final = {
    "model_type": "qwen3_5_moe_text",
    "hidden_size": 4096,
    "moe_intermediate_size": 1024,
    "shared_expert_intermediate_size": 1024,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "attn_output_gate": True,
    "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 64,
    "num_hidden_layers": 60,
    "vocab_size": 248320,
    "max_position_embeddings": 262144,
}
_INT4_EXPERTS: Final = {
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
}

HUB_CONFIGS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{CHECKPOINTS[name].partition("/")[2].lower(): config for name, config in KNOWN_CONFIGS.items()},
    "deepseek-v3": _R1,
    "deepseek-v3.2": {**_R1, "model_type": "deepseek_v32", "index_head_dim": 128, "index_n_heads": 64},
    "kimi-k2": {**_KIMI_K2, "quantization_config": _FP8_BLOCKS},
    "kimi-k2.5": {**_KIMI_K2, "quantization_config": _INT4_EXPERTS},
    "glm-5": _GLM_5,
    "qwen3.5-397b-a17b": _QWEN3_5_397B,
    "minimax-m2": {
        "model_type": "minimax_m2",
        "hidden_size": 3072,
        "intermediate_size": 1536,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "use_qk_norm": True,
        "num_hidden_layers": 62,
        "vocab_size": 200064,
        "max_position_embeddings": 196608,
        "quantization_config": _FP8_BLOCKS,
    },
    "qwen3-30b-a3b": {
        **KNOWN_CONFIGS["qwen3-235b-a22b"],
        "hidden_size": 2048,
        "moe_intermediate_size": 768,
        "num_attention_heads": 32,
        "num_hidden_layers": 48,
    },
    "qwen3-coder-480b-a35b": {
        **KNOWN_CONFIGS["qwen3-235b-a22b"],
        "hidden_size": 6144,
        "moe_intermediate_size": 2560,
        "num_experts": 160,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "num_hidden_layers": 62,
        "max_position_embeddings": 262144,
    },
    "gpt-oss-20b": {**KNOWN_CONFIGS["gpt-oss-120b"], "num_local_experts": 32, "num_hidden_layers": 24},
    "llama-2-70b": {
        **KNOWN_CONFIGS["llama-3.1-70b"],
        "vocab_size": 32000,
        "max_position_embeddings": 4096,
    },
}
"""Keys of each model's `config.json` that its shape depends on, by the last part of its id, in lower case."""

_SAME: Final[Mapping[str, str]] = {
    "minimax-m2.5": "minimax-m2",
    "minimax-m2.7": "minimax-m2",
    "glm-5.1": "glm-5",
    "deepseek-v3.1": "deepseek-v3",
    "deepseek-v3.1-terminus": "deepseek-v3",
    "deepseek-v3-0324": "deepseek-v3",
    "deepseek-r1-0528": "deepseek-r1",
    "kimi-k2-thinking": "kimi-k2.5",
    "kimi-k2.6": "kimi-k2.5",
    "llama-3.3-70b-instruct": "llama-3.1-70b-instruct",
    "meta-llama-3-70b-instruct": "llama-3.1-70b-instruct",
    "meta-llama-3-8b-instruct": "llama-3.1-8b-instruct",
}
_ENDING: Final = re.compile(r"-(fp8|fp4|nvfp4|bf16|instruct|base|chat|hf|v2|2507|0905)$")


@functools.cache
def hub_model(model_id: str) -> ModelShape:
    """Return the shape of the model with an id such as `openai/gpt-oss-120b`, in the precision that the id names.

    Raises:
        ModelShapeError: no such model is known.
    """
    name = model_id.rpartition("/")[2].lower().removeprefix("meta-")
    own: Precision | None = None
    while True:
        found = HUB_CONFIGS.get(_SAME.get(name, name)) or HUB_CONFIGS.get(_SAME.get(name, name) + "-instruct")
        if found is not None:
            shape = shape_from_config(found, model_id)
            return shape if own is None else shape.in_precision(own)
        ending = _ENDING.search(name)
        if ending is None:
            known = ", ".join(HUB_CONFIGS)
            raise ModelShapeError(f"no model {model_id!r} is known here; known: {known}. Others by their config.json")
        own = own or {"fp8": FP8, "nvfp4": NVFP4, "fp4": NVFP4}.get(ending[1])
        name = name[: ending.start()]
