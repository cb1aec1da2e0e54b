"""Model shapes against `transformers`: the same configs, built without memory, have exactly as many parameters."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from cluster.planning.model_config import shape_from_config

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
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(CONFIGS.glob("*.json"))}


def parameters_of(config: dict[str, Any]) -> int:
    """Return how many parameters transformers' own class has for `config`."""
    torch = pytest.importorskip("torch", reason="transformers and torch come with the cpu or gpu extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, on import: of no concern to us
        from transformers import AutoModelForCausalLM  # noqa: PLC0415 - takes seconds
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: PLC0415 - likewise

        plain = {key: value for key, value in config.items() if key not in NO_PARAMETERS_THERE}
        family = CONFIG_MAPPING[plain.pop("model_type")]
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(family(**plain))
    return sum(parameter.numel() for parameter in model.parameters())


LARGE = {"deepseek-r1"}
"""Takes half a minute; `deepseek_v3` above is its family."""
CASES = [pytest.param(FILES[name], id=name, marks=[pytest.mark.long] if name in LARGE else []) for name in FILES]


@pytest.mark.parametrize("config", [*CASES, *(pytest.param(FAMILIES[name], id=name) for name in FAMILIES)])
def test_parameters_are_those_of_transformers(config: dict[str, Any]) -> None:
    """To the last one."""
    assert shape_from_config(config, "m").parameters == parameters_of(config)
