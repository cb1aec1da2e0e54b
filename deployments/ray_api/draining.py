"""Drains a node before its machine ends: Ray places nothing new there, and Serve moves its replicas."""

import time

import ray
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.serve.context import _get_global_client

from cluster.errors import ClusterError
from deployments.ray_api.errors import ray_errors


def drain_node(node: str, within_s: float) -> None:
    """Ask Ray to drain a node: its replicas start elsewhere first, then the old ones finish their requests and stop.

    Replicas that find no other place are stopped in time all the same. Ray's call for it is internal.

    Args:
        node: the node's Ray id.
        within_s: seconds until the node ends; Ray is told, but nothing here enforces it.

    Raises:
        ClusterError: Ray refused, or its head is away.
    """
    deadline_ms = int((time.time() + within_s) * 1000)
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # the other reason is refused while a node works
    with ray_errors("draining the node"):
        gcs = ray._private.worker.global_worker.gcs_client  # noqa: SLF001
        accepted, why_not = gcs.drain_node(node, reason, "the machine is asked to end", deadline_ms)
    if not accepted:
        raise ClusterError(f"Ray does not drain the node: {why_not}")


def replicas_on(node: str) -> int:
    """Return how many Serve replicas are on a node, stopping ones included.

    Raises:
        ClusterError: Serve cannot be asked.
    """
    with ray_errors("asking Ray Serve for its replicas"):
        client = _get_global_client(raise_if_no_controller_running=False)
        if client is None:
            return 0
        details = ray.get(client._controller.get_serve_instance_details.remote(), timeout=5.0)  # noqa: SLF001
    return sum(
        replica.get("node_id") == node  # a replica that waits for a place has none
        for application in details["applications"].values()
        for deployment in application["deployments"].values()
        for replica in deployment["replicas"]
    )
