"""The machines as placement sees them: racks of NVLink domains of nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cluster.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Node:
    """One machine.

    Attributes:
        name: unique name in the cluster.
        domain: name of its NVLink domain; GPUs of one domain reach each other at link speed.
        rack: name of its rack.
        gpus: number of its GPUs.
        accelerator: kind of its GPUs; "" where it does not matter.
    """

    name: str
    domain: str
    rack: str
    gpus: int
    accelerator: str = ""


@dataclass(frozen=True, slots=True)
class Domain:
    """The machines of one NVLink domain.

    Attributes:
        name: unique name in the cluster.
        rack: name of the rack that all of them are in.
        accelerator: kind of all their GPUs.
        nodes: the machines, in order.
    """

    name: str
    rack: str
    accelerator: str
    nodes: tuple[Node, ...]

    @property
    def gpus(self) -> int:
        """GPUs of all machines."""
        return sum(node.gpus for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Topology:
    """All machines. Domains and racks are in the order of their first nodes, so neighbours are adjacent.

    Attributes:
        nodes: the machines, in order.
        domains: the domains, by name.
    """

    nodes: tuple[Node, ...]
    domains: Mapping[str, Domain] = field(repr=False)

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> "Topology":
        """Return the topology of `nodes`.

        Raises:
            TopologyError: two nodes share a name, a node has no GPU, or a domain has two racks or two kinds of GPU.
        """
        in_order = tuple(nodes)
        members: dict[str, list[Node]] = {}
        names: set[str] = set()
        for node in in_order:
            if node.name in names:
                raise TopologyError(f"two nodes are named {node.name!r}")
            if node.gpus < 1:
                raise TopologyError(f"node {node.name!r} has {node.gpus} GPUs; a node to place on has at least one")
            names.add(node.name)
            members.setdefault(node.domain, []).append(node)
        return cls(in_order, {name: _domain(name, members[name]) for name in members})

    @property
    def racks(self) -> dict[str, list[Domain]]:
        """The domains of each rack, by the rack's name."""
        racks: dict[str, list[Domain]] = {}
        for domain in self.domains.values():
            racks.setdefault(domain.rack, []).append(domain)
        return racks

    @property
    def gpus(self) -> int:
        """GPUs of all machines."""
        return sum(node.gpus for node in self.nodes)

    def nodes_named(self, name: str) -> list[Node]:
        """Return the node called `name`, or else all nodes of the domain or rack of that name.

        Raises:
            TopologyError: no node, domain or rack has that name.
        """
        found = [node for node in self.nodes if node.name == name]
        found = found or [node for node in self.nodes if name in {node.domain, node.rack}]
        if not found:
            raise TopologyError(f"no node, domain or rack is called {name!r}")
        return found


def _domain(name: str, nodes: list[Node]) -> Domain:
    first = nodes[0]
    for node in nodes[1:]:
        if node.rack != first.rack:
            places = f"{first.name!r} in {first.rack!r}, {node.name!r} in {node.rack!r}"
            raise TopologyError(f"domain {name!r} is in two racks: {places}")
        if node.accelerator != first.accelerator:
            kinds = f"{first.accelerator!r} in {first.name!r}, {node.accelerator!r} in {node.name!r}"
            raise TopologyError(f"domain {name!r} has two kinds of GPU: {kinds}")
    return Domain(name, first.rack, first.accelerator, tuple(nodes))
