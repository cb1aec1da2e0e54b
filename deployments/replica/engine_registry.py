"""Makes the engine that a model's spec asks for."""

from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import Engine, GangPlace
from deployments.engines.media.fetcher import MediaFetcher

# ruff: noqa: PLC0415 - imports only the engine that is asked for


def engine_for(
    model: ModelSpec,
    place: GangPlace | None = None,
    *,
    duties: KvDuties = NO_DUTIES,
    host: str = "127.0.0.1",
    fetcher: MediaFetcher | None = None,
) -> Engine:
    """Return the engine that `model` asks for, not yet started.

    Args:
        model: what to serve.
        place: where the replica's gang is; None: the engine runs on this machine.
        duties: which KV blocks it passes on to replicas of other pools, or fetches from them.
        host: the address of this machine, as engines on other machines reach it.
        fetcher: fetches the media that prompts name by URL; None: one that obeys the model's `media`.
    """
    if model.engine == "sim":
        from deployments.engines.sim.engine import SimEngine

        return SimEngine(model, duties, host, fetcher)
    from deployments.engines.vllm.engine import VllmEngine

    return VllmEngine(model, place, duties, host, fetcher)
