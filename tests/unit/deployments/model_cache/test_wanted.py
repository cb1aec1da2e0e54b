"""Which nodes should have which models."""

from cluster.spec import cluster_file
from deployments.model_cache.cached_source import CachedSource, named_source
from deployments.model_cache.wanted import on_node, wanted_by

FILE = """
models:
- {name: a, source: org/a, gpus_per_replica: 1, engine_args: {revision: v1}}
- {name: gang, source: org/big, parallel: {tensor: 4, pipeline: 2}, accelerator: H100}
- name: two
  source: org/two
  gpus_per_replica: 2
  node_group: boxes
  speculative: {method: draft_model, model: org/draft, tokens: 2}
- {name: cpu, source: org/cpu, gpus_per_replica: 0, env: {HF_ENDPOINT: 'http://mirror'}}
- {name: folder, source: /weights/x}
- {name: streamed, source: org/streamed, engine_args: {load_format: runai_streamer}}
- {name: sim, engine: sim}
"""


def names(gpus: int, **labels: str) -> list[str]:
    """Return what a node with these GPUs and labels should have."""
    wanted = wanted_by(cluster_file.load(FILE, "f"))
    return [
        source.name
        for source in on_node(
            wanted, {f"ray.io/{key.replace('_', '-')}": value for key, value in labels.items()}, gpus, 8.0
        )
    ]


def test_a_node_wants_what_may_be_placed_on_it() -> None:
    """By GPUs, their kind, and its group; folders, simulated engines and streamed weights need no download."""
    assert names(0) == ["org/cpu"]
    assert names(1) == ["org/a@v1", "org/cpu"]
    assert names(8, accelerator_type="H100") == ["org/a@v1", "org/big", "org/cpu"]
    assert names(8, node_group="boxes") == ["org/a@v1", "org/two", "org/draft", "org/cpu"]
    assert names(1, node_group="boxes") == ["org/a@v1", "org/cpu"]


def test_a_source_is_looked_for_as_its_engine_will() -> None:
    """Its revision, its cache, and its own environment; a command names both by one word."""
    (*_, cpu) = on_node(wanted_by(cluster_file.load(FILE, "f")), {}, 1, 8.0)
    assert cpu == CachedSource("org/cpu", env=(("HF_ENDPOINT", "http://mirror"),))
    assert named_source("org/a@v1") == CachedSource("org/a", "v1")
    assert named_source("org/a") == CachedSource("org/a")
