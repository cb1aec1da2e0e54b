"""What a replica serves, by its spec and its checkpoint's config: its task, and format and size of the weights."""

import json
from pathlib import Path

from cluster.errors import ModelShapeError
from cluster.foresight.hub_models import hub_model
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import FP8
from cluster.spec.model_spec import ModelSpec
from router.replicas.replica_model import ReplicaModel


def own_model(model: ModelSpec) -> ReplicaModel:
    """Return what a replica serves.

    Args:
        model: the model's spec, as the replica's pool runs it.
    """
    task = str(model.served_task or "")
    shape = own_shape(model)
    if shape is None:
        return ReplicaModel(task)
    return ReplicaModel(task, shape.weight_precision.name, shape.weight_bytes)


def own_shape(model: ModelSpec) -> ModelShape | None:
    """Return the shape of a model in the format in which it is served; None: its family or its id is not known."""
    try:
        shape = _shape(model.source)
    except (ModelShapeError, ValueError, OSError):
        return None
    return shape.in_precision(FP8) if is_quantised_as_it_loads(model) else shape


def is_quantised_as_it_loads(model: ModelSpec) -> bool:
    """Tell whether vLLM converts the weights to FP8 as it loads them."""
    return str(model.engine_args.get("quantization") or "").startswith("fp8")


def _shape(source: str) -> ModelShape:
    """Return the shape of a model by its id on the hub, or by the `config.json` in its folder.

    Raises:
        ModelShapeError: it is of no known family, or no such id is known.
        ValueError: its `config.json` is not JSON.
        OSError: that cannot be read.
    """
    config = Path(source).expanduser() / "config.json"
    if config.is_file():
        return shape_from_config(json.loads(config.read_text(encoding="utf-8")), source)
    return hub_model(source)
