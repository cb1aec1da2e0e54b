"""Reads the cluster's machines from Ray, and asks Ray's autoscaler for more."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import ray
from ray._private.resource_and_label_spec import ResourceAndLabelSpec
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.ray_api.errors import ray_errors

Item = TypeVar("Item")
AUTOSCALER_LOG: Final = "monitor.out"
LOG_TAIL_BYTES: Final = 1 << 20
"""Bytes at the log's end that are read: some hours of failing starts."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A live Ray node.

    Attributes:
        node_id: its Ray id.
        address: its address, as other nodes reach it.
        labels: its labels: Ray's and its operator's.
        gpus: its logical GPUs.
        free_gpus: those of them that are free; one of which a fraction is used counts as used.
        cpus: its logical CPUs.
    """

    node_id: str
    address: str
    labels: Mapping[str, str]
    gpus: int
    free_gpus: int
    cpus: float


def machines() -> list[Machine]:
    """Return the live nodes."""
    with ray_errors("asking for the cluster's nodes"):
        nodes = ray.nodes()
        free = ray._private.state.available_resources_per_node()  # noqa: SLF001 - Ray has no public call for it
    return [
        Machine(
            node_id=node["NodeID"],
            address=node["NodeManagerAddress"],
            labels=node["Labels"],
            gpus=int(node["Resources"].get("GPU", 0)),
            free_gpus=int(free.get(node["NodeID"], {}).get("GPU", 0)),
            cpus=float(node["Resources"].get("CPU", 0.0)),
        )
        for node in nodes
        if node["Alive"]
    ]


def machine_here(cpus: float) -> Machine:
    """Return this machine as the one node of the cluster that `start_local` would start on it.

    Ray's own detection of GPUs and labels, without a start (`ResourceAndLabelSpec`, internal).

    Args:
        cpus: logical CPUs that the cluster would be given.
    """
    found = ResourceAndLabelSpec(num_cpus=math.ceil(cpus)).resolve(is_head=True, node_ip_address="127.0.0.1")
    gpus = int(found.num_gpus or 0)
    return Machine("this machine", "127.0.0.1", dict(found.labels or {}), gpus, gpus, float(found.num_cpus or 0))


def lasting_nodes() -> list[Mapping[str, str]]:
    """Return the labels of each live node that is not draining.

    Raises:
        ClusterError: Ray's head is away.
    """
    with ray_errors("asking for the cluster's nodes"):
        nodes = ray.nodes()
        # Read after the nodes, so that a node that started draining in between is left out. Not a public call of Ray's.
        leaving = ray._private.worker.global_worker.gcs_client.get_draining_nodes()  # noqa: SLF001
    return [node["Labels"] for node in nodes if node["Alive"] and node["NodeID"] not in leaving]


def ask_autoscaler(gpus: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    """Ask the autoscaler for a cluster that has all these GPUs at once; replaces the last such request.

    Args:
        gpus: pairs of a number of GPUs and the labels of their nodes. Empty: nothing beyond what runs.
    """
    bundles = [{"GPU": 1.0} for count, _ in gpus for _ in range(count)]
    selectors = [dict(labels) for count, labels in gpus for _ in range(count)]
    with ray_errors("asking the autoscaler for nodes"):
        request_resources(bundles=bundles, bundle_label_selectors=selectors if bundles else None)


def autoscaler_log() -> str:
    """Return the end of what the cluster's autoscaler tells, where it runs on this machine: on the head; else ""."""
    session = ray._private.worker._global_node  # noqa: SLF001 - Ray has no public call for it
    try:
        with Path(session.get_logs_dir_path(), AUTOSCALER_LOG).open("rb") as log:
            log.seek(-min(LOG_TAIL_BYTES, log.seek(0, os.SEEK_END)), os.SEEK_END)
            return log.read().decode("utf-8", errors="replace")
    except (AttributeError, OSError):
        return ""


def stream_from_node(node_id: str, generate: Callable[..., Iterator[Item]], *args: Any) -> Iterator[Item]:  # noqa: ANN401 - `generate`'s own
    """Run a generator function in a process on one node, and yield what it yields; it ends when the caller ends.

    It takes no CPU in Ray's accounting, and is not tried again elsewhere.

    Raises:
        ClusterError: the node is gone, or the function failed.
    """
    place = NodeAffinitySchedulingStrategy(node_id, soft=False)
    with ray_errors(f"running {generate.__name__} on a node"):
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=place)(generate)
        for item in task.remote(*args):
            yield ray.get(item)
