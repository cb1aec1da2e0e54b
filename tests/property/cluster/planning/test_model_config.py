"""Whatever a config.json holds, it becomes a shape or a ModelShapeError: nothing else."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.errors import ModelShapeError
from cluster.planning.model_config import shape_from_config
from cluster.planning.model_shape import ModelShape

CONFIGS = [
    json.loads(path.read_text()) for path in sorted((Path(__file__).parents[3] / "model_configs").glob("*.json"))
]
_scalars = st.none() | st.booleans() | st.integers(-2, 300) | st.floats(allow_nan=False) | st.text(max_size=8)
_junk = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
_quantisations = st.fixed_dictionaries(
    {"quant_method": st.sampled_from(["fp8", "mxfp4", "modelopt", "compressed-tensors", "awq"]) | _junk},
    optional={
        "quant_algo": _junk,
        "config_groups": _junk,
        "weight_block_size": _junk,
        "ignore": _junk,
        "modules_to_not_convert": _junk,
    },
)


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
        assert sum(count for _, count in shape.windows) == shape.layers
        assert 0 <= shape.dense_layers <= shape.layers


@given(_junk)
def test_anything_at_all_gives_a_shape_or_is_refused(config: object) -> None:
    """Not only objects."""
    read(config)
