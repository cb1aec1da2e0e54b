"""Ray Serve's `AutoscalingPolicy` for gateways that follow the nodes: a fixed number on every node with given labels.

Serve calls a policy twice a second from its control loop, so the call must not block. A thread counts the nodes;
the call only reads the number.
"""

import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final

import deployments.ray_api as ray_api
from cluster.errors import ClusterError

POLL_S: Final = 0.5
"""Seconds between two counts of the nodes."""
NODE_LEAVES_S: Final = 2.0
"""Seconds that a draining node keeps its gateways once it is no longer counted.

By then Serve knows that the node drains, so it stops that node's gateways and no others, and load balancers know that
the node's pod is ending.
"""


class EveryNodePolicy:
    """Decides the number of gateways: `per_node` for every node that has the labels and is not draining.

    It does not choose their nodes. `DeploymentOptions.per_node` lets no node take more than `per_node` gateways, so
    this number fills every place. While Ray's head is away the number stays as it is.

    Args:
        labels: labels a node must have, all of them.
        per_node: gateways on each such node.
    """

    def __init__(self, labels: Mapping[str, str], per_node: int) -> None:
        self._labels = dict(labels)
        self._per_node = per_node
        self._target: int | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 - Ray's AutoscalingContext
        """Return the target number of gateways, and an empty policy state, for Serve's is not used."""
        if self._thread is None:
            # Serve makes a new policy at every deployment and drops the old one, whose thread ends with it.
            self._thread = threading.Thread(target=_follow, args=(weakref.ref(self),), name="gateways", daemon=True)
            self._thread.start()
        return self.wanted(int(context.target_num_replicas)), {}

    def wanted(self, present: int) -> int:
        """Return the target number of gateways; `present` until the nodes have been counted for the first time."""
        return present if self._target is None else self._target

    def count(self, nodes: Iterable[Mapping[str, str]]) -> None:
        """Set the target from the labels of each node that stays."""
        places = self._per_node * sum(self._labels.items() <= labels.items() for labels in nodes)
        self._target = max(1, places)  # to Serve, 0 means a deployment that sleeps until a request wakes it


def _follow(of: "weakref.ref[EveryNodePolicy]") -> None:
    while of() is not None:
        try:
            nodes = ray_api.lasting_nodes()
        except ClusterError:
            nodes = None
        policy = of()
        if policy is not None and nodes is not None:
            policy.count(nodes)
        del policy  # a reference held while sleeping would keep it alive
        time.sleep(POLL_S)
