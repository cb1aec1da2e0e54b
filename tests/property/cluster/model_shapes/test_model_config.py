"""Whatever a config.json holds, it becomes a shape or a ModelShapeError: nothing else."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ModelShapeError
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape

CONFIGS = [
    json.loads(path.read_text()) for path in sorted((Path(__file__).parents[3] / "model_configs").glob("*.json"))
]
_scalars = st.none() | st.booleans() | st.integers(-2, 300) | st.floats(allow_nan=False) | st.text(max_size=8)
_junk = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
_METHODS = [
    "fp8",
    "fbgemm_fp8",
    "mxfp4",
    "mxfp8",
    "modelopt",
    "compressed-tensors",
    "awq",
    "gptq",
    "gguf",
    "bitsandbytes",
]
_weights = st.fixed_dictionaries(
    {},
    optional={
        "num_bits": st.sampled_from([2, 4, 8]) | _junk,
        "type": st.sampled_from(["int", "float"]) | _junk,
        "strategy": st.sampled_from(["tensor", "channel", "group", "tensor_group", "block", "token"]) | _junk,
        "group_size": st.sampled_from([-1, 16, 32, 128]) | _junk,
        "symmetric": st.booleans() | _junk,
        "dynamic": st.booleans() | _junk,
        "block_structure": st.just([128, 128]) | _junk,
    },
)
_groups = st.dictionaries(
    st.text(max_size=3),
    st.fixed_dictionaries(
        {"weights": _weights | _junk},
        optional={
            "targets": st.lists(st.sampled_from(["Linear", "re:.*mlp.*", "re:(", "lm_head"]), max_size=2) | _junk,
            "input_activations": _weights | _junk,
            "format": st.sampled_from(["pack-quantized", "float-quantized"]) | _junk,
        },
    )
    | _junk,
    max_size=3,
)
_quantisations = st.fixed_dictionaries(
    {"quant_method": st.sampled_from(_METHODS) | _junk},
    optional={
        "bits": st.sampled_from([4, 8]) | _junk,
        "group_size": st.sampled_from([-1, 32, 64, 128]) | _junk,
        "dynamic": st.dictionaries(st.sampled_from(["-:.*mlp", "+:.*", "(", "+:a"]), _weights | _junk, max_size=2)
        | _junk,
        "modules_in_block_to_quantize": _junk,
        "lm_head": _junk,
        "quant_algo": st.sampled_from(["FP8", "NVFP4", "MIXED_PRECISION"]) | _junk,
        "quantization": _junk,
        "quantized_layers": st.dictionaries(st.text(max_size=4), _junk, max_size=2) | _junk,
        "config_groups": _groups | _junk,
        "format": st.sampled_from(["pack-quantized", "int-quantized"]) | _junk,
        "weight_block_size": st.just([128, 128]) | _junk,
        "ignore": st.lists(st.sampled_from(["lm_head", "re:(", "re:.*attn.*"]), max_size=2) | _junk,
        "modules_to_not_convert": st.lists(st.sampled_from(["mlp", "(", "lm_head"]), max_size=2) | _junk,
    },
)
_FAMILIES = [
    {"model_type": kind, **sizes}
    for kind, sizes in (
        ("qwen3_next", {"num_experts": 4, "num_experts_per_tok": 2, "shared_expert_intermediate_size": 8}),
        ("gemma3", {"vision_config": {"hidden_size": 8, "num_hidden_layers": 2}}),
        ("llama4", {"num_local_experts": 4}),
        (
            "glm_moe_dsa",
            {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4, "q_lora_rank": 8},
        ),
    )
]
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "vocab_size": 100,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}
CONFIGS += [{**_SIZES, **family} for family in _FAMILIES]


def read(config: object) -> ModelShape | None:
    """Return the shape; None if the config is refused."""
    try:
        return shape_from_config(config, "m")
    except ModelShapeError:
        return None


@given(st.sampled_from(CONFIGS), st.data())
@settings(max_examples=400)
def test_any_change_gives_a_shape_or_is_refused(config: dict[str, Any], data: st.DataObject) -> None:
    """Real configs with some keys gone or replaced by junk; a shape that comes out has sensible sizes."""
    keys = data.draw(st.sets(st.sampled_from(sorted(config)), max_size=3))
    changed = {**config, **{key: data.draw(_junk) for key in keys}}
    if data.draw(st.booleans()):
        changed["quantization_config"] = data.draw(_quantisations)
    shape = read(changed)
    if shape:
        assert 0 < shape.active_parameters <= shape.parameters
        assert shape.weight_bytes > 0
        assert shape.cache_layers + (shape.linear.layers if shape.linear else 0) == shape.layers
        assert not shape.formats or abs(sum(size for _, size in shape.formats) / shape.weight_bytes - 1) < 1e-9
        assert shape.kept(1000) >= shape.attended(1000) >= 0
        assert all(size > 0 for size in shape.tensor_sizes(16))
        assert 0 <= shape.dense_layers <= shape.layers


@given(_junk)
def test_anything_at_all_gives_a_shape_or_is_refused(config: object) -> None:
    """Not only objects."""
    read(config)
