"""From a machine's labels to its place among racks and domains."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cluster.placement.gang_ledger import LiveNode
from cluster.placement.topology import Node

DOMAIN: Final = "ray.io/gpu-domain"
"""The NVLink domain; Ray's own key, which it never sets by itself. Without it a machine is a domain of its own."""
RACK: Final = "rackserve.io/rack"
"""The rack, where it holds several domains; without it a domain is a rack."""
HOST: Final = "rackserve.io/host"
"""What people call the machine."""
ACCELERATOR: Final = "ray.io/accelerator-type"
NODE_GROUP: Final = "ray.io/node-group"
NODE_ID: Final = "ray.io/node-id"
"""These three are set by Ray."""

_DIGITS = re.compile(r"(\d+)")


def live_node(name: str, labels: Mapping[str, str], gpus: int, free: int) -> LiveNode:
    """Return a machine with its place.

    Args:
        name: unique: Ray's node id.
        labels: as Ray has them.
        gpus: in it.
        free: of them.
    """
    domain = labels.get(DOMAIN) or labels.get(HOST) or name
    node = Node(name, domain, labels.get(RACK) or domain, gpus, labels.get(ACCELERATOR, ""))
    return LiveNode(node, free, labels.get(NODE_GROUP, ""))


def neighbours_adjacent(nodes: Iterable[LiveNode], hosts: Mapping[str, str]) -> list[LiveNode]:
    """Return machines by rack, domain and what people call them; numbers count as such: rack-2 before rack-10.

    Args:
        nodes: in any order.
        hosts: what people call them, by their names.
    """
    return sorted(
        nodes,
        key=lambda live: (_by_number(live.node.rack), _by_number(live.node.domain), _by_number(hosts[live.node.name])),
    )


def _by_number(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _DIGITS.split(name) if part]
