"""How fast the twin is: CPU time for a request and memory, on 8 and on 288 GPUs under the same load for each GPU."""

import multiprocessing
import resource
from dataclasses import dataclass
from time import process_time
from typing import Any, Final

from cluster.model_shapes.known_models import known_model
from cluster.spec import cluster_file
from deployments.twin.closed_loop import streams
from deployments.twin.cluster import Cluster
from deployments.twin.run import TwinRun
from deployments.twin.scenario_file import SCENARIO_FILE
from tests.benchmarks.simulate.dispatcher_cost import DispatcherCost

GPUS_PER_REPLICA: Final = 4
PER_REPLICA_PER_S: Final = 4.0
LOAD: Final[dict[str, Any]] = {
    "prompt_tokens": 2000, "output_tokens": 250, "prefixes": 200, "prefix_tokens": 1024,
}  # fmt: skip
"""Chats with system prompts of a thousand tokens, of which 200 are in use."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one run was.

    Attributes:
        gpus: GPUs of the cluster.
        requests: requests that came.
        answered: those that were answered.
        cpu_s: seconds of CPU, the making of the load included.
        virtual_s: length of the run.
        peak_bytes: most memory that the process had.
        in_time: share of the requests whose first token came within a second.
    """

    gpus: int
    requests: int
    answered: int
    cpu_s: float
    virtual_s: float
    peak_bytes: int
    in_time: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU for a request."""
        return self.cpu_s / self.requests * 1e6


def measured(gpus: int, requests: int, gateways: int = 1) -> Speed:
    """Run a cluster in a process of its own, so that its memory is its own; return how fast it was."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(run_one, (gpus, requests, gateways))


def cluster_of(gpus: int, requests: int, gateways: int = 1) -> Cluster:
    """Return a cluster of one model under a load of so many requests."""
    replicas = gpus // GPUS_PER_REPLICA
    model = {
        "name": "chat",
        "source": "meta-llama/Llama-3.1-70B-Instruct",
        "replicas": replicas,
        "parallel": {"tensor": GPUS_PER_REPLICA},
        "kv_cache": {"dtype": "fp8"},
    }
    load = {**LOAD, "rate": PER_REPLICA_PER_S * replicas, "requests": requests}
    scenario = SCENARIO_FILE.from_data({"hardware": "gb300", "load": [load], "ttft_s": 1.0}, "bench-simulate")
    spec = cluster_file.from_data({"models": [model], "gateway": {"replicas": gateways}}, "bench-simulate")
    return Cluster.of(spec, scenario, lambda name, _: known_model(name), source="bench-simulate")


def run_one(gpus: int, requests: int, gateways: int = 1) -> Speed:
    """Run a cluster in this process."""
    began_s = process_time()
    cluster = cluster_of(gpus, requests, gateways)
    run = TwinRun(cluster, streams(cluster.scenario.load, 0), 0)
    run.run()
    cpu_s = process_time() - began_s
    run.check_integrity()
    columns = run.records.columns()
    return Speed(
        gpus,
        run.arrived,
        len(run.records),
        cpu_s,
        run.ended_s,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        float((columns.ttft_s <= 1.0).sum()) / run.arrived,
    )


def dispatcher_us(gpus: int, requests: int) -> float:
    """Return the microseconds of CPU that the dispatcher alone takes of a request of the same load."""
    cost = DispatcherCost(cluster_of(gpus, requests))
    cost.run()
    return cost.cpu_s / max(1, cost.requests) * 1e6
