"""`rackserve drain-node`: lets requests on a node finish before the machine ends (a pod's `preStop` hook)."""

import time
from typing import Final

from rich.console import Console

import deployments.ray_api as ray_api
from cluster.errors import ClusterError

POLL_S: Final = 0.5
"""Seconds between two looks at the node's replicas."""
MISSES: Final = 10
"""Failed looks in a row after which Ray's head counts as away, so that nothing would move the replicas."""


def drain_node(address: str, node: str = "", *, timeout_s: float, console: Console) -> bool:
    """Drain a node of replicas; return whether it was empty in time.

    Args:
        address: the Ray cluster's address.
        node: the node's Ray id; "": this process's node.
        timeout_s: seconds until the machine ends.
        console: where to print how many replicas are left.

    Raises:
        ClusterUnreachableError: there is no Ray cluster at `address`.
        ClusterError: Ray refused to drain, or its head stays away.
    """
    started_s = time.monotonic()
    ray_api.connect(address)
    try:
        node = node or ray_api.node_id()
        ray_api.drain_node(node, timeout_s)
        left = last = -1
        misses = 0
        while left and time.monotonic() - started_s < timeout_s:
            try:
                left, misses = ray_api.replicas_on(node), 0
            except ClusterError:
                misses += 1
                if misses == MISSES:
                    raise
            if left != last:
                console.print(f"{time.monotonic() - started_s:5.1f} s  replicas on the node: {left}", highlight=False)
                last = left
            if left:
                time.sleep(POLL_S)
        return left == 0
    finally:
        ray_api.disconnect()
