"""Gangs onto nodes: tensor groups never leave a domain, pipeline stages follow in neighbouring ones, best fit.

A gang goes whole into the domain where it leaves least over, so that whole domains and racks stay free for large ones.
A gang that fits no single domain is dealt, unit by unit in rank order, to the fewest domains in a row, of the fewest
racks, lying closest together. Ties go to the fuller rack and then to the first, so a placement can be replayed.

A replica also has a *driver*: the process that answers HTTP and runs the engine that drives the ranks. Ray Serve chose
its node. The gang begins on that node where this breaks up no larger block than the best fit would: then the replica
depends on fewer nodes.

`cluster.placement.report` says how fragmented a placement is and what a lost node or domain takes with it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.errors import TopologyError
from cluster.placement.domain_room import DomainRoom
from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.topology import Topology


@dataclass(frozen=True, slots=True)
class PlacementResult:
    """What became of several gangs.

    Attributes:
        placed: those with a place.
        waiting: why the others have none.
    """

    placed: tuple[PlacedGang, ...]
    waiting: tuple[WhyNot, ...]


class Placement:
    """Which gang is where, and what is free.

    Args:
        topology: the machines.
        spares_per_domain: nodes of each domain that only rebuilt gangs may take.
        lost: nodes that are down.
        small_domains_keep_fewer: a domain of too few nodes keeps all but one, in place of an error.

    Raises:
        TopologyError: a lost node is not there, or so many spares would leave nothing of a domain.
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
        """Place the gangs that fit, those hardest to place first.

        Args:
            gangs: in order of preference among equally hard ones.
            rebuild: they lost a node, and may take spares.
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
            rebuild: it lost a node, and may take spares.
            driver_node: the node its driver is on; "": not known. It need not be one of these nodes.

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
        """Enter a gang that stands already.

        Raises:
            TopologyError: there is no such node.
            ValueError: a gang of that name is placed already, or its GPUs are not free.
        """
        if placed.gang.name in self.placed:
            raise ValueError(f"gang {placed.gang.name!r} is placed already")
        for node, gpus in Counter(placed.nodes).items():
            self._room_of(node).take_on(node, gpus)
        self.placed[placed.gang.name] = placed

    def occupy(self, node: str, gpus: int) -> None:
        """Enter GPUs of a node that somebody else uses, as many as are free at most.

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
        """Take a node out and return the gangs that had a GPU there: each is torn down whole.

        Raises:
            TopologyError: there is no such node.
        """
        room = self._room_of(node)
        room.lose(node)
        torn = [name for name, placed in self.placed.items() if node in placed.nodes]
        return [self.release(name) for name in torn]

    def restore(self, node: str) -> None:
        """Take a lost node back in; one that was not lost is left as it is.

        Raises:
            TopologyError: there is no such node.
        """
        room = self._room_of(node)
        if node in room.lost:
            room.restore(node)

    def domains_of(self, placed: PlacedGang) -> list[str]:
        """Return the domains a gang is in, in rank order."""
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
        """Return the driver's domain if the gang can begin on its node and no block is lost by it; else the best."""
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
        # Data-parallel ranks meet at the driver, so its node is worth more to them than a whole block.
        return best if costs_more and gang.data == 1 else room

    def _why_not(self, gang: Gang, rooms: list[DomainRoom], *, rebuild: bool) -> WhyNot:
        unit, units = gang.unit_gpus, gang.units
        if not rooms:
            kinds = sorted({room.domain.accelerator or "unnamed" for room in self.rooms.values()})
            message = f"needs {gang.accelerator} GPUs; this cluster has {', '.join(kinds)}"
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
    """Return the best domain for the whole gang, once for each unit; none: it fits no domain."""
    best: tuple[tuple[int, int, int], DomainRoom] | None = None
    for room in rooms:
        left = room.room(with_spares=rebuild) - gang.gpus
        if left >= 0:
            key = (left, rack_free[room.domain.rack], room.order)
            if best is None or key < best[0]:
                best = key, room
    return [best[1]] * gang.units if best else []


def _domains_in_a_row(
    gang: Gang, rooms: list[DomainRoom], rack_free: Mapping[str, int], *, rebuild: bool
) -> list[DomainRoom]:
    """Return each unit's domain, for a gang that fits no single one; none: it does not fit at all."""
    counted = [(room, room.room(with_spares=rebuild) // gang.unit_gpus) for room in rooms]
    holding = [(room, units) for room, units in counted if units]
    best: tuple[tuple[int, ...], list[DomainRoom]] | None = None
    for start in range(len(holding)):
        row: list[DomainRoom] = []
        left = used = 0
        for room, units in holding[start:]:
            taken = min(units, gang.units - len(row))
            row += [room] * taken
            left += room.room(with_spares=rebuild) - taken * gang.unit_gpus
            used += 1
            if len(row) == gang.units:
                break
        if len(row) < gang.units:
            break  # later starts have even less
        racks = {room.domain.rack for room in row}
        apart = row[-1].order - row[0].order
        key = (used, len(racks), apart, left, sum(rack_free[rack] for rack in racks), row[0].order)
        if best is None or key < best[0]:
            best = key, row
    return best[1] if best else []
