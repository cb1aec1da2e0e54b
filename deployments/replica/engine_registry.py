"""From a model's spec to its engine."""

from cluster.spec.cluster_spec import ModelSpec
from deployments.engines.interface import Engine, GangPlace

# ruff: noqa: PLC0415 - only the engine that is asked for is imported


def engine_for(model: ModelSpec, place: GangPlace | None = None) -> Engine:
    """Return the engine that `model` asks for, not yet started.

    Args:
        model: what to serve.
        place: of the replica's gang; None: the engine runs on this machine.
    """
    if model.engine == "sim":
        from deployments.engines.sim.engine import SimEngine

        return SimEngine(model)
    from deployments.engines.vllm.engine import VllmEngine

    return VllmEngine(model, place)
