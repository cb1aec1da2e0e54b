"""Ray Serve's `AutoscalingPolicy` of the gateways where they follow the nodes: so many on every node with some labels.

Serve calls a policy ten times a second from its control loop, so that nothing may wait there. A thread counts the
nodes; the call only reads the number.
"""

import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Final

import deployments.ray_api as ray_api
from cluster.errors import ClusterError

POLL_S: Final = 0.5
NODE_LEAVES_S: Final = 2.0
"""A node that is emptied keeps its gateways for so long, though no longer counted. By then Serve too has seen that it
is emptied, and stops those and no others; and load balancers have heard that its pod is ending."""


class EveryNodePolicy:
    """How many gateways there are to be: `per_node` for every node that has the labels and is to stay.

    Which node gets them is not said here: no node takes more than `per_node` of them (`DeploymentOptions.per_node`), so
    that as many as there are places fill all places. While Ray's head is away the number stays as it is.

    Args:
        labels: a node must have all of them.
        per_node: gateways on each.
    """

    def __init__(self, labels: Mapping[str, str], per_node: int) -> None:
        self._labels = dict(labels)
        self._per_node = per_node
        self._target: int | None = None
        self._thread: threading.Thread | None = None

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 - Ray's AutoscalingContext
        """Return how many gateways there are to be; Serve's own policy state is not used."""
        if self._thread is None:
            # Serve makes a new policy at every deployment and drops the old one, whose thread ends with it.
            self._thread = threading.Thread(target=_follow, args=(weakref.ref(self),), name="gateways", daemon=True)
            self._thread.start()
        return self.wanted(int(context.target_num_replicas)), {}

    def wanted(self, present: int) -> int:
        """Return how many gateways there are to be; `present` as long as no node has been counted."""
        return present if self._target is None else self._target

    def count(self, nodes: Iterable[Mapping[str, str]]) -> None:
        """Go by these nodes, given by their labels, from now on."""
        places = self._per_node * sum(self._labels.items() <= labels.items() for labels in nodes)
        self._target = max(1, places)  # Serve takes 0 for a deployment that sleeps until a request wakes it


def _follow(of: "weakref.ref[EveryNodePolicy]") -> None:
    while of() is not None:
        try:
            nodes = ray_api.lasting_nodes()
        except ClusterError:
            nodes = None
        policy = of()
        if policy is not None and nodes is not None:
            policy.count(nodes)
        del policy  # sleeping must not keep it alive
        time.sleep(POLL_S)
