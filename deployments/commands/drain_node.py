"""`rackserve drain-node`: let what runs on a node finish, before the machine ends (a pod's `preStop` hook)."""

import time
from typing import Final

from rich.console import Console

import deployments.ray_api as ray_api
from cluster.errors import ClusterError

POLL_S: Final = 0.5
MISSES: Final = 10
"""After as many looks in vain the head is taken for away: there is nobody then who would move anything."""


def drain_node(address: str, node: str = "", *, timeout_s: float, console: Console) -> bool:
    """Empty a node of replicas; returns whether it was empty in time.

    Args:
        address: of the Ray cluster.
        node: Ray's id of it; "": the node this runs on.
        timeout_s: the machine ends after so long.
        console: where to say how many are left.

    Raises:
        ClusterUnreachableError: no Ray runs here.
        ClusterError: Ray refused to drain, or its head is away for long.
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
