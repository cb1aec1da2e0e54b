"""From a model's spec to its engine."""

from typing import Any

from cluster.spec import ModelSpec
from deployments.engines.interface import Engine

# ruff: noqa: PLC0415 - only the engine that is asked for is imported


def engine_for(model: ModelSpec, placement_group: Any = None) -> Engine:  # noqa: ANN401 - Ray's own type
    """Return the engine that `model` asks for, not yet started.

    Args:
        model: what to serve.
        placement_group: of the replica's gang, one GPU a bundle in rank order; None: the engine runs on this machine.
    """
    if model.engine == "sim":
        from deployments.engines.sim import SimEngine

        return SimEngine(model)
    from deployments.engines.vllm import VllmEngine

    return VllmEngine(model, placement_group)
