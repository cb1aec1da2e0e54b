"""Turns a machine's Ray labels into its domain and rack, and sorts machines so that neighbours are adjacent."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cluster.placement.gang_ledger import LiveNode
from cluster.placement.topology import Node

DOMAIN: Final = "ray.io/gpu-domain"
"""Label of the NVLink domain. The key is Ray's, but Ray never sets it. A machine without it is a domain by itself."""
RACK: Final = "rackserve.io/rack"
"""Label of the rack, for racks that hold several domains. Without it each domain counts as a rack."""
HOST: Final = "rackserve.io/host"
"""Label of the machine's host name."""
ACCELERATOR: Final = "ray.io/accelerator-type"
NODE_GROUP: Final = "ray.io/node-group"
NODE_ID: Final = "ray.io/node-id"
"""These three are set by Ray."""

_DIGITS = re.compile(r"(\d+)")


def live_node(name: str, labels: Mapping[str, str], gpus: int, free: int) -> LiveNode:
    """Return a machine with its domain and rack.

    Args:
        name: unique name: Ray's node id.
        labels: the node's labels in Ray.
        gpus: GPUs in the machine.
        free: GPUs of it that nobody uses.
    """
    domain = labels.get(DOMAIN) or labels.get(HOST) or name
    node = Node(name, domain, labels.get(RACK) or domain, gpus, labels.get(ACCELERATOR, ""))
    return LiveNode(node, free, labels.get(NODE_GROUP, ""))


def neighbours_adjacent(nodes: Iterable[LiveNode], hosts: Mapping[str, str]) -> list[LiveNode]:
    """Return machines sorted by rack, domain and host name; numbers in names sort by value: rack-2 before rack-10.

    Args:
        nodes: the machines, in any order.
        hosts: host name of each machine, by its node name.
    """
    return sorted(
        nodes,
        key=lambda live: (_by_number(live.node.rack), _by_number(live.node.domain), _by_number(hosts[live.node.name])),
    )


def _by_number(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(name) if part]
