"""What the machines that may run a model should have in their caches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cluster.placement.gang_of_model import needs_gang
from cluster.placement.node_labels import NODE_GROUP
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.app import gpus_of
from deployments.model_cache.cached_source import CachedSource
from deployments.models.builtins import BUILTIN_MODELS
from deployments.models.source import HF_ID

ACCELERATOR: Final = "ray.io/accelerator-type"
"""Label with the kind of a node's GPUs."""
_FORMATS: Final = {"", "auto", "hf", "safetensors", "pt", "fastsafetensors"}
"""vLLM's `load_format` of models whose files are a Hugging Face folder; others fetch what they need by themselves."""


@dataclass(frozen=True, slots=True)
class WantedOnNodes:
    """What the nodes that may run one pool should have.

    Attributes:
        sources: what to download.
        gpus: GPUs that such a node has at least; 0: it runs on CPUs.
        accelerator: kind of those GPUs; "": any.
        node_group: group of such nodes; "": any.
    """

    sources: tuple[CachedSource, ...]
    gpus: float
    accelerator: str
    node_group: str

    def may_run_on(self, labels: Mapping[str, str], gpus: int, cpus: float) -> bool:
        """Return whether a replica, or a part of it, may be placed on a node."""
        if self.accelerator and labels.get(ACCELERATOR) != self.accelerator:
            return False
        if self.node_group and labels.get(NODE_GROUP) != self.node_group:
            return False
        return gpus >= self.gpus if self.gpus else cpus >= 1


def sources_of(pool: ModelSpec) -> tuple[CachedSource, ...]:
    """Return what an engine of this pool will download; folders, other hubs and other formats are its own to fetch."""
    arguments = {key.replace("-", "_"): str(value) for key, value in pool.engine_args.items() if value is not None}
    env = dict(pool.env)
    if pool.engine != "vllm" or arguments.get("load_format", "") not in _FORMATS or "VLLM_USE_MODELSCOPE" in env:
        return ()
    settings = (arguments.get("download_dir", ""), tuple(sorted(env.items())))
    model = CachedSource(pool.source, arguments.get("revision", ""), *settings)
    draft = CachedSource(pool.speculative.model, "", *settings)
    return tuple(each for each in (model, draft) if _is_downloaded(each.source))


def wanted_by(spec: ClusterSpec) -> tuple[WantedOnNodes, ...]:
    """Return what each pool of a cluster file wants; pools that download nothing are left out."""
    return tuple(
        WantedOnNodes(sources, _gpus_on_a_node(pool), pool.accelerator, pool.node_group)
        for pool in spec.in_pools()
        if (sources := sources_of(pool))
    )


def on_node(wanted: Iterable[WantedOnNodes], labels: Mapping[str, str], gpus: int, cpus: float) -> list[CachedSource]:
    """Return what a node should have, each once, in the file's order."""
    found = (source for each in wanted if each.may_run_on(labels, gpus, cpus) for source in each.sources)
    return list(dict.fromkeys(found))


def _is_downloaded(source: str) -> bool:
    return source in BUILTIN_MODELS or (bool(source) and HF_ID.fullmatch(source) is not None and "/" in source)


def _gpus_on_a_node(pool: ModelSpec) -> float:
    """Return the GPUs that a node must have at least to run a part of a replica: a gang's ranks may be spread."""
    return 1.0 if needs_gang(pool) else gpus_of(pool)
