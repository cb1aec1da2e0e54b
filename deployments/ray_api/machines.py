"""The cluster's machines as Ray knows them, and what Ray's autoscaler is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray
from ray.autoscaler.sdk import request_resources

from deployments.ray_api.errors import ray_errors


@dataclass(frozen=True, slots=True)
class Machine:
    """A Ray node that is alive.

    Attributes:
        node_id: Ray's.
        address: other nodes reach it at.
        labels: Ray's and its operator's.
        gpus: logical ones.
        free_gpus: of them; a fraction in use counts as a whole one.
    """

    node_id: str
    address: str
    labels: Mapping[str, str]
    gpus: int
    free_gpus: int


def machines() -> list[Machine]:
    """Return the nodes that are alive."""
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
        )
        for node in nodes
        if node["Alive"]
    ]


def lasting_nodes() -> list[Mapping[str, str]]:
    """Return the labels of each node that is alive and is not being emptied.

    Raises:
        ClusterError: Ray's head is away.
    """
    with ray_errors("asking for the cluster's nodes"):
        nodes = ray.nodes()
        # After the nodes: one that joined in between does not count as emptied. Ray has no public call for it.
        leaving = ray._private.worker.global_worker.gcs_client.get_draining_nodes()  # noqa: SLF001
    return [node["Labels"] for node in nodes if node["Alive"] and node["NodeID"] not in leaving]


def ask_autoscaler(gpus: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    """Have the autoscaler keep a cluster that could hold these GPUs all at once, in place of what was asked before.

    Args:
        gpus: how many on nodes with which labels. None: nothing beyond what runs.
    """
    bundles = [{"GPU": 1.0} for count, _ in gpus for _ in range(count)]
    selectors = [dict(labels) for count, labels in gpus for _ in range(count)]
    with ray_errors("asking the autoscaler for nodes"):
        request_resources(bundles=bundles, bundle_label_selectors=selectors if bundles else None)
