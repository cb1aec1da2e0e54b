"""The part of a model that looks at images: a vision transformer, and the projection of its answers to tokens.

Quantisers leave it as it is in what is published; it counts as BF16. tests/engine_contract/test_model_shapes.py checks
each tower against `transformers`' own classes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cluster.checkpoint.config_keys import ConfigKeys
from cluster.checkpoint.families import ModelFiles


def vision_parameters(files: ModelFiles, hidden: int) -> int:
    """Return the parameters of tower and projection; 0 where the file describes no tower.

    Args:
        files: the parts of the config.
        hidden: length of the language model's vectors.

    Raises:
        ModelShapeError: a key is missing or wrong.
    """
    if not files.wrapper or not files.whole.has("vision_config"):
        return 0
    count, defaults = _TOWERS[files.wrapper]
    return count(files.whole.inside("vision_config", defaults), files.whole, hidden)


def _siglip(tower: ConfigKeys, _: ConfigKeys, hidden: int) -> int:
    size, width, layers = _sizes(tower)
    patch, image = tower.count("patch_size"), tower.count("image_size")
    embedding = 3 * patch * patch * size + size + (image // patch) ** 2 * size
    layer = _biased(size, size) * 4 + _biased(size, width) + _biased(width, size) + 4 * size
    return embedding + layers * layer + 2 * size + size * hidden + size


def _llama4(tower: ConfigKeys, _: ConfigKeys, hidden: int) -> int:
    size, width, layers = _sizes(tower)
    patch, image = tower.count("patch_size"), tower.count("image_size")
    embedding = 3 * patch * patch * size + ((image // patch) ** 2 + 1) * size + size
    layer = _biased(size, size) * 4 + _biased(size, width) + _biased(width, size) + 4 * size
    into, out, answer = (
        tower.count(f"{name}_dim") for name in ("projector_input", "projector_output", "vision_output")
    )
    return embedding + layers * layer + 4 * size + width * into + out * out + answer * hidden


def _pixtral(tower: ConfigKeys, whole: ConfigKeys, hidden: int) -> int:
    size, width, layers = _sizes(tower)
    patch, merged = tower.count("patch_size"), whole.count("spatial_merge_size", default=2)
    layer = 4 * size * size + 3 * size * width + 2 * size
    bias = 2 * hidden if whole.flag("multimodal_projector_bias") else 0
    projection = size + merged**2 * size * size + size * hidden + hidden * hidden + bias
    return 3 * patch * patch * size + size + layers * layer + projection


def _qwen2_5(tower: ConfigKeys, _: ConfigKeys, hidden: int) -> int:
    size, width = tower.count("hidden_size"), tower.count("intermediate_size")
    merged = tower.count("spatial_merge_size") ** 2 * size
    embedding = 3 * tower.count("temporal_patch_size") * tower.count("patch_size") ** 2 * size
    layer = _biased(size, 3 * size) + _biased(size, size) + 2 * _biased(size, width) + _biased(width, size) + 2 * size
    merger = size + _biased(merged, merged) + _biased(merged, tower.count("out_hidden_size", default=hidden))
    return embedding + tower.count("depth") * layer + merger


def _qwen3(tower: ConfigKeys, _: ConfigKeys, hidden: int) -> int:
    size, width = tower.count("hidden_size"), tower.count("intermediate_size")
    merged, out = tower.count("spatial_merge_size") ** 2 * size, tower.count("out_hidden_size", default=hidden)
    embedding = 3 * tower.count("temporal_patch_size") * tower.count("patch_size") ** 2 * size + size
    embedding += tower.count("num_position_embeddings") * size
    layer = _biased(size, 3 * size) + _biased(size, size) + _biased(size, width) + _biased(width, size) + 4 * size
    merger = _biased(merged, merged) + _biased(merged, out)
    deep = len(tower.items("deepstack_visual_indexes") or ())
    return embedding + tower.count("depth") * layer + merger + 2 * size + deep * (merger + 2 * merged)


def _moonvit(tower: ConfigKeys, whole: ConfigKeys, hidden: int) -> int:
    size, width, layers = (
        tower.count(*names)
        for names in (
            ("vt_hidden_size", "hidden_size"),
            ("vt_intermediate_size", "intermediate_size"),
            ("vt_num_hidden_layers", "num_hidden_layers"),
        )
    )
    height, across = (
        tower.count(f"init_pos_emb_{side}", f"pos_emb_{side}", default=64) for side in ("height", "width")
    )
    merged = 4 * size
    embedding = 3 * tower.count("patch_size") ** 2 * size + size + height * across * size
    layer = _biased(size, size) * 4 + _biased(size, width) + _biased(width, size) + 4 * size
    norm = 2 * whole.count("projection_hidden_size", "mm_hidden_size", default=size)
    return embedding + layers * layer + 2 * size + norm + _biased(merged, merged) + _biased(merged, hidden)


def _sizes(tower: ConfigKeys) -> tuple[int, int, int]:
    return tower.count("hidden_size"), tower.count("intermediate_size"), tower.count("num_hidden_layers")


def _biased(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


_SIGLIP: Final = {"intermediate_size": 3072, "image_size": 224, "patch_size": 16}
_QWEN3: Final = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
}
_QWEN3_VL: Final = {**_QWEN3, "deepstack_visual_indexes": [8, 16, 24]}
_QWEN2_5: Final = {
    "depth": 32,
    "hidden_size": 3584,
    "intermediate_size": 3420,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_PIXTRAL: Final = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "patch_size": 16}
_LLAMA4: Final = {
    "hidden_size": 768,
    "intermediate_size": 5632,
    "num_hidden_layers": 34,
    "image_size": 448,
    "patch_size": 14,
    "vision_output_dim": 7680,
    "projector_input_dim": 4096,
    "projector_output_dim": 4096,
}
_MOONVIT: Final = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "patch_size": 14}

_Count = Callable[[ConfigKeys, ConfigKeys, int], int]
_TOWERS: Final[Mapping[str, tuple[_Count, Mapping[str, Any]]]] = {
    "gemma3": (_siglip, _SIGLIP),
    "llama4": (_llama4, _LLAMA4),
    "mistral3": (_pixtral, _PIXTRAL),
    "qwen2_5_vl": (_qwen2_5, _QWEN2_5),
    "qwen3_vl": (_qwen3, _QWEN3_VL),
    "qwen3_vl_moe": (_qwen3, _QWEN3_VL),
    "qwen3_5": (_qwen3, _QWEN3),
    "qwen3_5_moe": (_qwen3, _QWEN3),
    "kimi_k25": (_moonvit, _MOONVIT),
}
"""How to count the tower of each wrapper, and what its files leave out (defaults of transformers 5)."""
