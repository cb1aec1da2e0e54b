"""Turns a Hugging Face `config.json` into a `ModelShape`.

It knows the families below. tests/engine_contract/test_model_shapes.py checks each against the parameter counts of
`transformers`' own classes. An unknown family is refused rather than guessed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cluster.errors import ModelShapeError
from cluster.planning.model_shape import QUANTISED_LINEARS, Attention, Experts, Latent, ModelShape, WeightGroup
from cluster.planning.precision import FP8, INT4, INT8, MXFP4, NVFP4, Precision

FAMILIES: Final = (
    "llama",
    "mistral",
    "mixtral",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "deepseek_v2",
    "deepseek_v3",
    "kimi_k2",
    "gpt_oss",
)
"""Known values of `model_type`."""

_METHODS: Final[Mapping[str, Precision]] = {
    "fp8": FP8,
    "fbgemm_fp8": FP8,
    "modelopt": FP8,
    "modelopt_fp4": NVFP4,
    "nvfp4": NVFP4,
    "mxfp4": MXFP4,
    "awq": INT4,
    "awq_marlin": INT4,
    "gptq": INT4,
    "gptq_marlin": INT4,
}
"""Number format by `quant_method` or `quant_algo`, for the methods whose name alone tells the format."""


class _Keys:
    """Reads a config's keys, with errors that name the key."""

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        self._config = config
        self.source = source

    def refuse(self, message: str) -> ModelShapeError:
        return ModelShapeError(f"{self.source}: {message}")

    def count(self, *names: str, default: int | None = None) -> int:
        """Return the positive whole number under the first of `names` that is present, else `default`."""
        for name in names:
            value = self._config.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise self.refuse(f"{name} must be a whole number above 0; got {value!r}")
            return value
        if default is None:
            raise self.refuse(f"{' or '.join(names)} is missing")
        return default

    def number(self, name: str, default: int) -> int:
        """Return the whole number, 0 allowed, under `name`; `default` if it is missing."""
        value = self._config.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.refuse(f"{name} must be a whole number; got {value!r}")
        return value

    def flag(self, name: str) -> bool:
        """Return whether `name` is present and true."""
        return bool(self._config.get(name))

    def items(self, name: str) -> Sequence[Any] | None:
        """Return the list under `name`; None if it is missing."""
        value = self._config.get(name)
        if value is not None and not isinstance(value, list):
            raise self.refuse(f"{name} must be a list; got {value!r}")
        return value

    def part(self, name: str) -> Mapping[str, Any]:
        """Return the object under `name`; an empty one if it is missing."""
        value = self._config.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse(f"{name} must be an object; got {value!r}")
        return value


def shape_from_config(config: object, name: str) -> ModelShape:
    """Return the shape that a parsed `config.json` describes.

    Args:
        config: the file's content.
        name: name of the model, also for errors.

    Raises:
        ModelShapeError: `config` is not an object, its family is unknown, or a key is missing or wrong.
    """
    if not isinstance(config, Mapping):
        raise ModelShapeError(f"{name}: a config.json holds an object; got {type(config).__name__}")
    keys = _Keys(config, name)
    family = config.get("model_type")
    if family not in FAMILIES:
        hint = "; its text_config may be what you mean" if "text_config" in config else ""
        raise keys.refuse(f"model_type {family!r} is not known here; known: {', '.join(FAMILIES)}{hint}")
    layers = keys.count("num_hidden_layers")
    hidden = keys.count("hidden_size")
    attention, attention_small = _attention(keys, family, hidden)
    experts, expert_layers = _experts(keys, family, hidden, layers)
    dense_layers = layers - expert_layers
    width = keys.count("intermediate_size") if dense_layers else 0
    mlp_bias = 2 * width + hidden if keys.flag("mlp_bias") else 0
    precisions, scale_block = _quantisation(keys)
    small = layers * (2 * hidden + attention_small) + dense_layers * mlp_bias + hidden
    return ModelShape(
        name=name,
        layers=layers,
        hidden=hidden,
        vocab=keys.count("vocab_size"),
        mlp_width=width,
        mlp_parameters=3 * hidden * width,
        dense_layers=dense_layers,
        attention=attention,
        windows=tuple(Counter(_windows(keys, family, layers)).items()),
        experts=experts,
        tied=keys.flag("tie_word_embeddings"),
        small_parameters=small,
        max_context=keys.count("max_position_embeddings", default=1 << 20),
        precisions=precisions,
        scale_block=scale_block,
    )


def _attention(keys: _Keys, family: str, hidden: int) -> tuple[Attention, int]:
    """Return a layer's attention, and the number of its bias and norm weights."""
    heads = keys.count("num_attention_heads")
    if keys.number("kv_lora_rank", 0):
        return _latent_attention(keys, hidden, heads)
    kv_heads = keys.count("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise keys.refuse(f"{heads} attention heads are not divisible by {kv_heads} KV heads")
    dim = keys.count("head_dim", default=hidden // heads)
    if not dim:
        raise keys.refuse(f"{heads} attention heads cannot share a hidden size of {hidden}")
    small = 0
    if family == "qwen2" or keys.flag("attention_bias"):
        small += (heads + 2 * kv_heads) * dim
        small += hidden if family != "qwen2" else 0
    if family.startswith("qwen3"):
        small += 2 * dim  # norms of queries and keys
    if family == "gpt_oss":
        small += heads  # attention sinks
    matrices = hidden * dim * (2 * heads + 2 * kv_heads)
    return Attention(heads, kv_heads, dim, dim, matrices), small


def _latent_attention(keys: _Keys, hidden: int, heads: int) -> tuple[Attention, int]:
    kv_rank, rope = keys.count("kv_lora_rank"), keys.count("qk_rope_head_dim")
    nope, value = keys.count("qk_nope_head_dim"), keys.count("v_head_dim")
    q_rank = keys.number("q_lora_rank", 0)
    key = nope + rope
    queries = q_rank * (hidden + heads * key) if q_rank else hidden * heads * key
    matrices = queries + hidden * (kv_rank + rope) + kv_rank * heads * (nope + value) + heads * value * hidden
    return Attention(heads, heads, key, value, matrices, Latent(kv_rank, rope)), q_rank + kv_rank


def _experts(keys: _Keys, family: str, hidden: int, layers: int) -> tuple[Experts | None, int]:
    """Return the experts of one layer, None if there are none, and the number of layers with experts."""
    if family not in {"mixtral", "qwen3_moe", "deepseek_v2", "deepseek_v3", "kimi_k2", "gpt_oss"}:
        return None, 0
    routed = keys.count("n_routed_experts", "num_local_experts", "num_experts")
    active = keys.count("num_experts_per_tok", "experts_per_token")
    if active > routed:
        raise keys.refuse(f"each token goes to {active} experts but there are {routed}")
    width = keys.count("moe_intermediate_size", "intermediate_size")
    matrices = 3 * hidden * width
    biased = family == "gpt_oss"
    shared = keys.number("n_shared_experts", 0) * matrices
    experts = Experts(
        routed=routed,
        active=active,
        width=width,
        parameters=matrices + (2 * width + hidden if biased else 0),
        shared_parameters=shared,
        router_parameters=hidden * routed + (routed if biased else 0),
    )
    return experts, _expert_layers(keys, family, layers)


def _expert_layers(keys: _Keys, family: str, layers: int) -> int:
    if family in {"deepseek_v2", "deepseek_v3", "kimi_k2"}:
        first, every = keys.number("first_k_dense_replace", 0), keys.count("moe_layer_freq", default=1)
        return sum(1 for layer in range(layers) if layer >= first and layer % every == 0)
    if family == "qwen3_moe":
        dense, every = keys.items("mlp_only_layers") or [], keys.count("decoder_sparse_step", default=1)
        return sum(1 for layer in range(layers) if layer not in dense and (layer + 1) % every == 0)
    return layers


def _windows(keys: _Keys, family: str, layers: int) -> tuple[int | None, ...]:
    window = keys.number("sliding_window", 0)
    kinds = keys.items("layer_types")
    if not window or (family.startswith("qwen") and not keys.flag("use_sliding_window")):
        return (None,) * layers
    if kinds is None and family == "gpt_oss":
        kinds = ["full_attention" if layer % 2 else "sliding_attention" for layer in range(layers)]
    if kinds is None and family.startswith("qwen"):
        first = keys.number("max_window_layers", 0)
        kinds = ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
    if kinds is None:
        return (window,) * layers
    if len(kinds) != layers:
        raise keys.refuse(f"layer_types must name each of the {layers} layers")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _quantisation(keys: _Keys) -> tuple[dict[WeightGroup, Precision], int]:
    """Return the number format of each quantised part, and how many rows and columns share a scale."""
    config = keys.part("quantization_config")
    if not config:
        return {}, 1
    inside = _Keys(config, f"{keys.source}: quantization_config")
    method = str(config.get("quant_method", "")).lower()
    algorithm = str(config.get("quant_algo", "")).lower()
    precision = _METHODS.get(algorithm) or _METHODS.get(method)
    if method == "compressed-tensors":
        precision = _compressed_tensors(inside)
    if precision is None:
        known = ", ".join([*_METHODS, "compressed-tensors"])
        raise keys.refuse(f"quantization_config.quant_method {method!r} is not known here; known: {known}")
    left_out = " ".join(
        str(entry)
        for key in ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules")
        for entry in inside.items(key) or ()
    )
    parts = set(QUANTISED_LINEARS)
    if "attn" in left_out:
        parts.discard(WeightGroup.ATTENTION)
    if "shared_expert" in left_out:
        parts.discard(WeightGroup.SHARED_EXPERTS)
    block = inside.items("weight_block_size") or [1]
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in block):
        raise inside.refuse(f"weight_block_size must be two whole numbers; got {block!r}")
    return dict.fromkeys(sorted(parts), precision), int(block[0])


def _compressed_tensors(config: _Keys) -> Precision | None:
    """Return the weights' number format in a compressed-tensors config (LLM Compressor's); None if it is unknown."""
    groups = config.part("config_groups")
    first: object = next(iter(groups.values()), {})
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict):
        return None
    formats = {("float", 8): FP8, ("int", 8): INT8, ("float", 4): NVFP4, ("int", 4): INT4}
    return formats.get((str(weights.get("type")), _Keys(weights, config.source).number("num_bits", 0)))
