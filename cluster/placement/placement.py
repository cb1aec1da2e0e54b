"""Places gangs on nodes by best fit: a tensor group never leaves its domain, pipeline stages take neighbouring domains.

A gang goes whole into the domain where it leaves the fewest GPUs over. So whole domains and racks stay free for large
gangs. A gang that fits in no single domain is dealt, unit by unit in rank order, to the fewest domains in a row, then
to the fewest racks, then to those closest together. Ties go to the fuller rack and then to the first domain, so a
placement can be replayed.

A replica also has a *driver*: the process that answers HTTP and drives the ranks. Ray Serve has chosen the driver's
node before the gang is placed. The gang begins on that node where this breaks up no larger block than the best fit
would: then the replica depends on its gang's nodes alone.

`cluster.placement.report` tells how fragmented a placement is and what the loss of a node or domain tears down.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from cluster.errors import TopologyError
from cluster.placement.domain_room import DomainRoom
from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.topology import Topology


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """The outcome of placing several gangs.

    Attributes:
        placed: the gangs that have a place.
        waiting: for each other gang, why it has none.
    """

    placed: tuple[PlacedGang, ...]
    waiting: tuple[WhyNot, ...]


class Placement:
    """The nodes of each placed gang, and the GPUs that are free.

    Args:
        topology: the machines.
        spares_per_domain: number of nodes in each domain that only rebuilt gangs may take.
        lost: names of the nodes that are down.
        small_domains_keep_fewer: whether a domain with too few nodes keeps all but one as spares; otherwise it is an
            error.

    Raises:
        TopologyError: a lost node is not in the topology, or the spares would leave nothing of a domain.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        spares_per_domain: int = 0,
        lost: Iterable[str] = (),
        small_domains_keep_fewer: bool = False,
    ) -> None:
        self.topology = topology
        self.spares_per_domain = spares_per_domain
        self.placed: dict[str, PlacedGang] = {}
        self.rooms: dict[str, DomainRoom] = {}
        self._others = Counter[str]()
        for order, domain in enumerate(topology.domains.values()):
            if spares_per_domain >= len(domain.nodes) and not small_domains_keep_fewer:
                nodes = f"{len(domain.nodes)} node{'s' if len(domain.nodes) > 1 else ''}"
                raise TopologyError(f"{spares_per_domain} spares leave nothing of domain {domain.name!r}, of {nodes}")
            self.rooms[domain.name] = DomainRoom(domain, order, min(spares_per_domain, len(domain.nodes) - 1))
        self._domain_of = {node.name: node.domain for node in topology.nodes}
        for node in lost:
            self.lose(node)

    def place_all(self, gangs: Iterable[Gang], *, rebuild: bool = False) -> PlacementResult:
        """Place the gangs that fit: those with the largest units first, then those with the most GPUs.

        Args:
            gangs: the gangs; among equals the earlier one is placed first.
            rebuild: whether they lost a node and may take spares.
        """
        placed: list[PlacedGang] = []
        waiting: list[WhyNot] = []
        for gang in sorted(gangs, key=lambda each: (-each.unit_gpus, -each.gpus)):
            result = self.place(gang, rebuild=rebuild)
            if isinstance(result, PlacedGang):
                placed.append(result)
            else:
                waiting.append(result)
        return PlacementResult(tuple(placed), tuple(waiting))

    def place(self, gang: Gang, *, rebuild: bool = False, driver_node: str = "") -> PlacedGang | WhyNot:
        """Place one gang, whole or not at all.

        Args:
            gang: the gang.
            rebuild: whether it lost a node and may take spares.
            driver_node: the node that the replica's driver runs on, which may lie outside the topology; "": not known.

        Raises:
            ValueError: a gang of that name is placed already.
        """
        if gang.name in self.placed:
            raise ValueError(f"gang {gang.name!r} is placed already")
        rooms = [
            room for room in self.rooms.values() if not gang.accelerator or gang.accelerator == room.domain.accelerator
        ]
        rack_free = Counter[str]()
        for room in rooms:
            rack_free[room.domain.rack] += room.room(with_spares=True)
        chosen = _one_domain(gang, rooms, rack_free, rebuild=rebuild)
        if chosen and driver_node:
            chosen = [self._at_driver(gang, rooms, chosen[0], driver_node, rebuild=rebuild)] * gang.units
        chosen = chosen or _domains_in_a_row(gang, rooms, rack_free, rebuild=rebuild)
        if not chosen:
            return self._why_not(gang, rooms, rebuild=rebuild)
        nodes = [""] * gang.gpus
        for unit, ranks in gang.tensor_groups():
            begin = driver_node if ranks.start == 0 else ""
            taken = chosen[unit].take(len(ranks), with_spares=rebuild, driver_node=begin)
            for rank, node in zip(ranks, taken, strict=True):
                nodes[rank] = node
        self.placed[gang.name] = PlacedGang(gang, tuple(nodes))
        return self.placed[gang.name]

    def adopt(self, placed: PlacedGang) -> None:
        """Enter a gang that runs already.

        Raises:
            TopologyError: one of its nodes is not in the topology.
            ValueError: a gang of that name is placed already, or its GPUs are not free.
        """
        if placed.gang.name in self.placed:
            raise ValueError(f"gang {placed.gang.name!r} is placed already")
        for node, gpus in Counter(placed.nodes).items():
            self._room_of(node).take_on(node, gpus)
        self.placed[placed.gang.name] = placed

    def occupy(self, node: str, gpus: int) -> None:
        """Enter GPUs of a node that are used by something other than a gang; no more than are free are entered.

        Raises:
            TopologyError: there is no such node.
        """
        room = self._room_of(node)
        taken = min(gpus, room.free[node])
        room.take_on(node, taken)
        self._others[node] += taken

    def release(self, name: str) -> Gang:
        """Give back all GPUs of the gang called `name`, and return it.

        Raises:
            KeyError: no such gang is placed.
        """
        placed = self.placed.pop(name)
        for node, gpus in Counter(placed.nodes).items():
            self.rooms[self._domain_of[node]].give_back(node, gpus)
        return placed.gang

    def lose(self, node: str) -> list[Gang]:
        """Mark a node as lost and return the gangs that had a GPU there; each is released whole.

        Raises:
            TopologyError: there is no such node.
        """
        room = self._room_of(node)
        room.lose(node)
        torn = [name for name, placed in self.placed.items() if node in placed.nodes]
        return [self.release(name) for name in torn]

    def restore(self, node: str) -> None:
        """Take a lost node back in; a node that is not lost stays as it is.

        Raises:
            TopologyError: there is no such node.
        """
        room = self._room_of(node)
        if node in room.lost:
            room.restore(node)

    def domains_of(self, placed: PlacedGang) -> list[str]:
        """Return the names of a gang's domains, in rank order."""
        return list(dict.fromkeys(self._domain_of[node] for node in placed.nodes))

    def check_integrity(self) -> None:
        """Audit the books.

        Raises:
            AssertionError: GPUs are counted twice or lost, a gang is not whole, or a unit spans domains.
        """
        used = {node.name: 0 for node in self.topology.nodes}
        for name, placed in self.placed.items():
            gang = placed.gang
            if name != gang.name or len(placed.nodes) != gang.gpus:
                raise AssertionError(f"{name}: not whole")
            homes: dict[int, set[str]] = {}
            for unit, ranks in gang.tensor_groups():
                homes.setdefault(unit, set()).update(self._domain_of[placed.nodes[rank]] for rank in ranks)
            if any(len(domains) != 1 for domains in homes.values()):
                raise AssertionError(f"{name}: a unit spans domains")
            kinds = {self.rooms[domain].domain.accelerator for domains in homes.values() for domain in domains}
            if gang.accelerator and kinds != {gang.accelerator}:
                raise AssertionError(f"{name}: on another kind of GPU")
            for taken in placed.nodes:
                used[taken] += 1
        for node in self.topology.nodes:
            room = self.rooms[node.domain]
            expected = 0 if node.name in room.lost else node.gpus - self._others[node.name]
            if room.free[node.name] + used[node.name] != expected:
                raise AssertionError(f"{node.name}: {used[node.name]} used and {room.free[node.name]} free")

    def _room_of(self, node: str) -> DomainRoom:
        if node not in self._domain_of:
            raise TopologyError(f"no node is called {node!r}")
        return self.rooms[self._domain_of[node]]

    def _at_driver(
        self, gang: Gang, rooms: list[DomainRoom], best: DomainRoom, driver_node: str, *, rebuild: bool
    ) -> DomainRoom:
        """Return the driver's domain if the gang can begin on its node without breaking up a block; else `best`."""
        room = next((each for each in rooms if driver_node in each.free), best)
        if room.room(with_spares=rebuild) < gang.gpus or not room.starts_well_on(
            driver_node, gang.tensor, with_spares=rebuild
        ):
            return best
        blocks = [each.room(with_spares=rebuild) for each in rooms]
        racks_in_use = {each.domain.rack for each in self.rooms.values() if not each.is_unused}

        def breaks_up(each: DomainRoom) -> tuple[bool, bool, bool]:
            is_largest = blocks.count(max(blocks)) == 1 and each.room(with_spares=rebuild) == max(blocks)
            return is_largest, each.is_unused, each.domain.rack not in racks_in_use

        costs_more = any(here > there for here, there in zip(breaks_up(room), breaks_up(best), strict=True))
        # Data-parallel ranks meet at the driver, so being near it is worth more to them than a whole block.
        return best if costs_more and gang.data == 1 else room

    def _why_not(self, gang: Gang, rooms: list[DomainRoom], *, rebuild: bool) -> WhyNot:
        unit, units = gang.unit_gpus, gang.units
        if not rooms:
            wanted = f"{gang.accelerator or gang.gpus} GPU{'s' if gang.accelerator or gang.gpus > 1 else ''}"
            kinds = sorted({room.domain.accelerator or "unnamed" for room in self.rooms.values()})
            message = f"needs {wanted}; this cluster has {', '.join(kinds) or 'no GPU yet'}"
            return WhyNot(gang, message, unit, units, 0, "", 0)
        best = max(rooms, key=lambda room: (room.room(with_spares=rebuild), -room.order))
        free = best.room(with_spares=rebuild)
        counts = {room.domain.name: room.room(with_spares=rebuild) // unit for room in rooms}
        room_for = min(units, sum(counts.values()))
        largest = max(rooms, key=lambda room: (room.domain.gpus, -room.order)).domain
        if unit > largest.gpus:
            message = f"needs {unit} GPUs in one domain; the largest domain, {largest.name}, has {largest.gpus}"
        elif room_for == 0 or units == 1:
            message = f"needs {unit} GPUs in one domain; best domain {best.domain.name} has {free} free"
            message += _kept_back(best, free)
        else:
            where = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
            message = f"needs {units} groups of {unit} GPUs, each in one domain; there is room for {room_for} ({where})"
        return WhyNot(gang, message, unit, units, room_for, best.domain.name, free)


def _kept_back(room: DomainRoom, free: int) -> str:
    kept = room.room(with_spares=True) - free
    gone = sum(node.gpus for node in room.domain.nodes if node.name in room.lost)
    notes = [f"{kept} more are kept as spares"] if kept else []
    notes += [f"{gone} are on lost nodes"] if gone else []
    return f" ({', '.join(notes)})" if notes else ""


def _one_domain(
    gang: Gang, rooms: list[DomainRoom], rack_free: Mapping[str, int], *, rebuild: bool
) -> list[DomainRoom]:
    """Return the best domain for the whole gang, once for each unit; an empty list if it fits in no domain."""
    gpus = gang.gpus
    best: tuple[tuple[int, int, int], DomainRoom] | None = None
    for room in rooms:
        left = room.room(with_spares=rebuild) - gpus
        if left >= 0:
            key = (left, rack_free[room.domain.rack], room.order)
            if best is None or key < best[0]:
                best = key, room
    return [best[1]] * gang.units if best else []


def _domains_in_a_row(
    gang: Gang, rooms: list[DomainRoom], rack_free: Mapping[str, int], *, rebuild: bool
) -> list[DomainRoom]:
    """Return each unit's domain, for a gang that fits in no single one; an empty list if it fits nowhere.

    A row fills domains in order, from its first until all units have a place. Its first and its last domain only ever
    move forward, so one pass over the domains finds the best row.
    """
    unit_gpus, units = gang.unit_gpus, gang.units
    counted = [(room, room.room(with_spares=rebuild)) for room in rooms]
    holding = [(room, free, free // unit_gpus) for room, free in counted if free >= unit_gpus]
    domains_of_rack = Counter[str]()  # of the row from `start` to before `end`, like the next three
    free_gpus = room_for = racks_free_gpus = 0
    end = 0
    best: tuple[tuple[int, ...], int] | None = None
    for start, (first, first_free, first_units) in enumerate(holding):
        while room_for < units and end < len(holding):
            room, free, held = holding[end]
            rack = room.domain.rack
            if not domains_of_rack[rack]:
                racks_free_gpus += rack_free[rack]
            domains_of_rack[rack] += 1
            free_gpus += free
            room_for += held
            end += 1
        if room_for < units:
            break  # a later start holds even less
        apart = holding[end - 1][0].order - first.order
        key = (end - start, len(domains_of_rack), apart, free_gpus, racks_free_gpus, first.order)
        if best is None or key < best[0]:
            best = key, start
        rack = first.domain.rack
        domains_of_rack[rack] -= 1
        if not domains_of_rack[rack]:
            del domains_of_rack[rack]
            racks_free_gpus -= rack_free[rack]
        free_gpus -= first_free
        room_for -= first_units
    if best is None:
        return []
    row = (room for room, _, held in holding[best[1] :] for _ in range(held))
    return list(islice(row, units))
