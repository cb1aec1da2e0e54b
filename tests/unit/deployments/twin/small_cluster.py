"""Small clusters and scenarios for tests of the twin, and one run of them."""

from collections.abc import Iterator
from typing import Any

from cluster.model_shapes.known_models import known_model
from cluster.placement.topology import Topology
from cluster.spec import cluster_file
from deployments.twin.answer import TwinAnswer, answer
from deployments.twin.arrivals import Arrival
from deployments.twin.closed_loop import streams
from deployments.twin.cluster import Cluster
from deployments.twin.run import TwinRun
from deployments.twin.scenario_file import SCENARIO_FILE

SIM: dict[str, Any] = {
    "prefill_tokens_per_s": 20_000.0, "inter_token_s": 0.01, "inter_token_per_seq_s": 0.0002, "max_num_seqs": 16,
    "kv_blocks": 4096, "block_tokens": 32, "start_s": 5.0,
}  # fmt: skip
"""A small simulated engine."""


def cluster_of(
    models: list[dict[str, Any]],
    scenario: dict[str, Any],
    gateway: dict[str, Any] | None = None,
    topology: Topology | None = None,
    spares: int | None = None,
) -> Cluster:
    """Return a cluster of these models."""
    data = {"models": models, **({"gateway": gateway} if gateway else {})}
    return Cluster.of(
        cluster_file.from_data(data, "test"),
        SCENARIO_FILE.from_data(scenario, "scenario"),
        lambda name, _: known_model(name),
        source="test",
        topology=topology,
        spares_per_domain=spares,
    )


def sim_model(replicas: Any = 2, **keys: Any) -> dict[str, Any]:  # noqa: ANN401 - what the cluster file takes
    """Return a model of the simulated engine."""
    return {"name": "chat", "engine": "sim", "sim": SIM, "replicas": replicas, **keys}


def finished(cluster: Cluster, seed: int = 0, arrivals: Iterator[Arrival] | None = None) -> tuple[TwinRun, TwinAnswer]:
    """Run a cluster to its end; return the run and its answer, with what must hold checked."""
    run = TwinRun(
        cluster,
        arrivals if arrivals is not None else streams(cluster.scenario.load, seed, cluster.scenario.block_tokens),
        seed,
    )
    run.run()
    run.check_integrity()
    found = answer(cluster, run)
    assert found.all.requests == run.arrived
    return run, found
