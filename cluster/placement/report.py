"""Reports on a placement: use of each domain, fragmentation of the free GPUs, gangs torn down by each possible loss."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.placement.placement import Placement


@dataclass(frozen=True, slots=True)
class DomainUse:
    """How the GPUs of one domain are used.

    Attributes:
        name: name of the domain.
        rack: name of its rack.
        gpus: all its GPUs.
        free: free GPUs that ordinary gangs may take.
        spare: free GPUs kept for gangs that are rebuilt.
        lost: GPUs on nodes that are down.
        gangs: names of the gangs with GPUs there.
    """

    name: str
    rack: str
    gpus: int
    free: int
    spare: int
    lost: int
    gangs: tuple[str, ...]

    @property
    def used(self) -> int:
        """GPUs that gangs use."""
        return self.gpus - self.free - self.spare - self.lost


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """How far the free GPUs are scattered over domains.

    Attributes:
        free: free GPUs that ordinary gangs may take, in all domains.
        largest_block: most free GPUs in one domain: the largest group that could be placed now.
        whole_domains: number of domains without a gang or a lost node.
        whole_racks: number of racks without a gang or a lost node.
        group: GPUs in the group that `stranded` is counted for.
        stranded: free GPUs that no group of that size could use.
    """

    free: int
    largest_block: int
    whole_domains: int
    whole_racks: int
    group: int
    stranded: int

    @property
    def share(self) -> float:
        """Stranded GPUs as a share of the free ones; 0 where nothing is free."""
        return self.stranded / self.free if self.free else 0.0


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """The gangs that the loss of one node or domain would tear down.

    Attributes:
        name: name of the node or domain.
        gangs: names of the gangs.
    """

    name: str
    gangs: tuple[str, ...]


def domain_uses(placement: Placement) -> list[DomainUse]:
    """Return the use of each domain, in the topology's order."""
    gangs: dict[str, list[str]] = {}
    for placed in placement.placed.values():
        for domain in placement.domains_of(placed):
            gangs.setdefault(domain, []).append(placed.gang.name)
    uses = []
    for name, room in placement.rooms.items():
        free = room.room(with_spares=False)
        lost = sum(node.gpus for node in room.domain.nodes if node.name in room.lost)
        spare = room.room(with_spares=True) - free
        uses.append(DomainUse(name, room.domain.rack, room.domain.gpus, free, spare, lost, tuple(gangs.get(name, ()))))
    return uses


def fragmentation(placement: Placement, group: int = 0) -> Fragmentation:
    """Return how far the free GPUs are scattered.

    Args:
        placement: the placement to look at.
        group: GPUs that must share a domain; 0: as many as in the largest group placed, or 1 if nothing is placed.
    """
    group = group or max((placed.gang.unit_gpus for placed in placement.placed.values()), default=1)
    uses = domain_uses(placement)
    busy = {use.rack for use in uses if use.gangs or use.lost}
    return Fragmentation(
        free=sum(use.free for use in uses),
        largest_block=max((use.free for use in uses), default=0),
        whole_domains=sum(1 for use in uses if not use.gangs and not use.lost),
        whole_racks=len(placement.topology.racks.keys() - busy),
        group=group,
        stranded=sum(use.free % group for use in uses),
    )


def node_blast_radius(placement: Placement) -> list[BlastRadius]:
    """Return the gangs that each node's loss would tear down, the most first; nodes without gangs are left out."""
    hit: dict[str, list[str]] = {}
    for placed in placement.placed.values():
        for node in dict.fromkeys(placed.nodes):
            hit.setdefault(node, []).append(placed.gang.name)
    return _worst_first(hit.items())


def domain_blast_radius(placement: Placement) -> list[BlastRadius]:
    """Return the gangs that each domain's loss would tear down, the most first; domains without gangs are left out."""
    return _worst_first((use.name, list(use.gangs)) for use in domain_uses(placement) if use.gangs)


def _worst_first(hit: Iterable[tuple[str, list[str]]]) -> list[BlastRadius]:
    radii = [BlastRadius(name, tuple(gangs)) for name, gangs in hit]
    return sorted(radii, key=lambda radius: -len(radius.gangs))
