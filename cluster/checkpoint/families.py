"""Families of models by `model_type`: those that are known, what each leaves out of its files, and its wrappers.

Defaults are those of the configuration classes of transformers 5, which fill what a published file leaves out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.errors import ModelShapeError

FAMILIES: Final = (
    "llama",
    "mistral",
    "ministral3",
    "mixtral",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_5_text",
    "qwen3_5_moe_text",
    "gemma3_text",
    "llama4_text",
    "glm4_moe",
    "minimax_m2",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "glm_moe_dsa",
    "kimi_k2",
    "gpt_oss",
)
"""Known values of `model_type` of a language model."""

WRAPPERS: Final[Mapping[str, str]] = {
    "gemma3": "gemma3_text",
    "llama4": "llama4_text",
    "mistral3": "mistral",
    "qwen2_5_vl": "qwen2",
    "qwen3_vl": "qwen3",
    "qwen3_vl_moe": "qwen3_moe",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "kimi_k25": "kimi_k2",
}
"""Known values of `model_type` of a model that also looks at images, and the family of its language model."""

_SAME: Final[Mapping[str, str]] = {
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
}

_GATED_DELTA: Final = {
    "head_dim": 256,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "full_attention_interval": 4,
}
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "gemma3_text": {
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
    },
    "llama4_text": {
        "vocab_size": 202048,
        "intermediate_size_mlp": 16384,
        "interleave_moe_layer_step": 1,
        "no_rope_layer_interval": 4,
        "attention_chunk_size": 8192,
        "max_position_embeddings": 131072,
        "num_experts_per_tok": 1,
    },
    "qwen3_next": _GATED_DELTA,
    "qwen3_5_text": {**_GATED_DELTA, "vocab_size": 248320},
    "qwen3_5_moe_text": {**_GATED_DELTA, "vocab_size": 248320, "shared_expert_intermediate_size": 512},
    "qwen3": {"head_dim": 128},
    "deepseek_v32": {"index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048, "first_k_dense_replace": 3},
    "glm_moe_dsa": {"index_head_dim": 128, "index_n_heads": 32, "index_topk": 2048, "first_k_dense_replace": 3},
    "glm4_moe": {"first_k_dense_replace": 1, "n_shared_experts": 1},
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A `config.json`, divided into what is said of text, of images and of the whole.

    Attributes:
        family: family of the language model, one of `FAMILIES`.
        wrapper: `model_type` of a model that also looks at images; "" for a language model alone.
        text: keys of the language model.
        whole: keys of the file itself.
        quantisation: the `quantization_config`, and its place for errors.
    """

    family: str
    wrapper: str
    text: ConfigKeys
    whole: ConfigKeys
    quantisation: tuple[Mapping[str, Any], str]

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What may stand before a layer's name: versions of transformers, and vLLM, name wrapped models differently."""
        return ("model.", "model.language_model.", "language_model.model.") if self.wrapper else ("model.",)

    @property
    def is_tied(self) -> bool:
        """Whether the output head is the input embedding; the language model's own word goes before the file's."""
        return self.text.flag("tie_word_embeddings", default=self.whole.flag("tie_word_embeddings"))


def read_files(config: object, name: str) -> ModelFiles:
    """Divide a parsed `config.json` into its parts.

    Raises:
        ModelShapeError: `config` is not an object, or its family is not known.
    """
    if not isinstance(config, Mapping):
        raise ModelShapeError(f"{name}: a config.json holds an object; got {type(config).__name__}")
    whole = ConfigKeys(config, name)
    kind = config.get("model_type")
    kind = _SAME.get(kind, kind) if isinstance(kind, str) else kind
    wrapper = kind if isinstance(kind, str) and kind in WRAPPERS else ""
    if not wrapper and kind not in FAMILIES:
        hint = "; its text_config may be what you mean" if "text_config" in config else ""
        raise whole.refuse(f"model_type {kind!r} is not known here; known: {', '.join([*FAMILIES, *WRAPPERS])}{hint}")
    family, text, source = str(kind), dict(config), name
    if wrapper:
        family = WRAPPERS[wrapper]
        inside = whole.part("text_config")
        if inside:
            text, source = dict(inside), f"{name}: text_config"
            own = inside.get("model_type", family)
            family = _SAME.get(own, own) if isinstance(own, str) else family
        if family not in FAMILIES:
            known = ", ".join(FAMILIES)
            raise whole.refuse(f"text_config's model_type {family!r} is not known here; known: {known}")
    keys = ConfigKeys(text, source, _DEFAULTS.get(family))
    where = whole if whole.has("quantization_config") else keys
    quantised = where.part("quantization_config")
    return ModelFiles(family, wrapper, keys, whole, (quantised, f"{where.source}: quantization_config"))
