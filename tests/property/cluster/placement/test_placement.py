"""Placement keeps its promises through any sequence of gangs, losses and repairs."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.placement import Placement
from cluster.placement.report import domain_uses, fragmentation, node_blast_radius
from cluster.placement.topology import Node, Topology

sizes = st.sampled_from([1, 2, 3, 4, 8, 16])


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Draw racks of domains of nodes, all of any size."""
    nodes = []
    for rack in range(draw(st.integers(1, 3))):
        for domain in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["h100", "gb300"]))
            for node in range(draw(st.integers(1, 4))):
                gpus = draw(st.sampled_from([1, 2, 4, 8]))
                nodes.append(Node(f"{rack}-{domain}-{node}", f"{rack}-{domain}", f"{rack}", gpus, kind))
    return Topology.of(nodes)


@st.composite
def gang_shapes(draw: st.DrawFn) -> Gang:
    """Draw what a replica may need."""
    return Gang(
        name="",
        model="m",
        tensor=draw(sizes),
        pipeline=draw(st.integers(1, 4)),
        data=draw(st.sampled_from([1, 1, 1, 2, 4])),
        experts_whole=draw(st.booleans()),
        accelerator=draw(st.sampled_from(["", "", "h100", "gb300"])),
    )


def named(shape: Gang, name: str) -> Gang:
    """Return a gang of that shape."""
    return Gang(name, "m", shape.tensor, shape.pipeline, shape.data, shape.experts_whole, shape.accelerator)


class PlacementMachine(RuleBasedStateMachine):
    """Drives a placement beside the plainest possible account of what is used."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.lost: set[str] = set()
        self.torn: list[Gang] = []

    @initialize(topology=topologies(), spares=st.integers(0, 2))
    def machines(self, topology: Topology, spares: int) -> None:
        """Some machines, with as many spares as each domain can have."""
        fewest = min(len(domain.nodes) for domain in topology.domains.values())
        self.topology = topology
        self.placement = Placement(topology, spares_per_domain=min(spares, fewest - 1))

    def used(self) -> Counter[str]:
        """Return GPUs taken, by node, from the gangs alone."""
        return Counter(node for placed in self.placement.placed.values() for node in placed.nodes)

    def free(self, domain: str, *, with_spares: bool) -> int:
        """Return GPUs free in a domain, from the gangs and the losses alone."""
        used = self.used()
        nodes = [node for node in self.topology.domains[domain].nodes if node.name not in self.lost]
        total = sum(node.gpus - used[node.name] for node in nodes)
        if with_spares:
            return total
        whole = [node.gpus for node in nodes if not used[node.name]]
        keep = self.placement.spares_per_domain
        return total - sum(whole[len(whole) - min(keep, len(whole)) :] if keep else [])

    def whole_nodes(self, domain: str) -> int:
        """Return how many healthy nodes of a domain nobody uses."""
        used = self.used()
        return sum(
            1 for node in self.topology.domains[domain].nodes if node.name not in self.lost and not used[node.name]
        )

    def try_to_place(self, gang: Gang, *, rebuild: bool, driver_node: str = "") -> bool:
        """A gang is placed if and only if its groups fit, then by best fit or on its driver's node."""
        kinds = [name for name, each in self.topology.domains.items() if gang.accelerator in {"", each.accelerator}]
        room = {name: self.free(name, with_spares=rebuild) for name in kinds}
        groups = sum(free // gang.unit_gpus for free in room.values())
        result = self.placement.place(gang, rebuild=rebuild, driver_node=driver_node)
        assert isinstance(result, PlacedGang) == (groups >= gang.units)
        if isinstance(result, WhyNot):
            assert result.message.startswith("needs ")
            assert result.room_for < gang.units
            assert result.best_free == max(room.values(), default=0)
            return False
        domains = self.placement.domains_of(result)
        fitting = [free for free in room.values() if free >= gang.gpus]
        if fitting:  # one domain holds it all: the tightest is taken
            assert len(domains) == 1
            assert room[domains[0]] == min(fitting) or result.nodes[0] == driver_node
        else:  # stages follow one another: no domain is left and entered again
            assert len(domains) > 1
        return True

    @rule(shape=gang_shapes())
    def place(self, shape: Gang) -> None:
        """A new replica; spares stay free."""
        before = {name: self.whole_nodes(name) for name in self.topology.domains}
        self.count += 1
        self.try_to_place(named(shape, f"g{self.count}"), rebuild=False)
        for name, whole in before.items():
            assert self.whole_nodes(name) >= min(self.placement.spares_per_domain, whole)

    @rule(shape=gang_shapes(), position=st.integers(0, 1000))
    def place_at_front(self, shape: Gang, position: int) -> None:
        """A replica whose driver is on some node: blocks stay as whole as without it, groups on as few nodes."""
        driver_node = self.topology.nodes[position % len(self.topology.nodes)].name
        self.count += 1
        gang = named(shape, f"g{self.count}")
        plain = self.placement.place(gang)
        without, nodes = fragmentation(self.placement), self.nodes_of_first_group(plain)
        if isinstance(plain, PlacedGang):
            self.placement.release(gang.name)
        if self.try_to_place(gang, rebuild=False, driver_node=driver_node):
            placed = self.placement.placed[gang.name]
            pieces = fragmentation(self.placement)
            if gang.data == 1:
                assert pieces.largest_block >= without.largest_block
                assert pieces.whole_domains >= without.whole_domains
                assert pieces.whole_racks >= without.whole_racks
            same_domain = isinstance(plain, PlacedGang) and self.placement.domains_of(placed) == (
                self.placement.domains_of(plain)
            )
            assert not same_domain or self.nodes_of_first_group(placed) <= nodes

    @staticmethod
    def nodes_of_first_group(placed: PlacedGang | WhyNot) -> int:
        """Return how many nodes the first tensor group is on."""
        return len(set(placed.nodes[: placed.gang.tensor])) if isinstance(placed, PlacedGang) else 0

    @precondition(lambda self: self.torn)
    @rule()
    def rebuild(self) -> None:
        """A gang that lost a node comes back, on spares if need be."""
        gang = self.torn.pop()
        if not self.try_to_place(gang, rebuild=True):
            self.torn.insert(0, gang)

    @precondition(lambda self: self.placement.placed)
    @rule(position=st.integers(0, 1000))
    def release(self, position: int) -> None:
        """A replica is scaled away: exactly its GPUs are free again."""
        names = sorted(self.placement.placed)
        name = names[position % len(names)]
        before, nodes = self.used(), self.placement.placed[name].nodes
        assert self.placement.release(name).name == name
        assert self.used() == before - Counter(nodes)

    @rule(position=st.integers(0, 1000))
    def lose(self, position: int) -> None:
        """A node dies: gangs with a GPU there are torn down whole, others stay where they are."""
        node = self.topology.nodes[position % len(self.topology.nodes)].name
        hit = {name for name, placed in self.placement.placed.items() if node in placed.nodes}
        said = {radius.name: set(radius.gangs) for radius in node_blast_radius(self.placement)}.get(node, set())
        others = {name: placed for name, placed in self.placement.placed.items() if name not in hit}
        torn = self.placement.lose(node)
        assert {gang.name for gang in torn} == hit == said
        assert self.placement.placed == others
        self.lost.add(node)
        self.torn += torn

    @precondition(lambda self: self.lost)
    @rule(position=st.integers(0, 1000))
    def restore(self, position: int) -> None:
        """A node comes back, empty."""
        node = sorted(self.lost)[position % len(self.lost)]
        self.placement.restore(node)
        self.lost.discard(node)

    @invariant()
    def audited(self) -> None:
        """The books are in order, and the report says what is."""
        if not hasattr(self, "placement"):
            return
        self.placement.check_integrity()
        used = self.used()
        assert not self.lost & used.keys()
        for use in domain_uses(self.placement):
            assert use.free == self.free(use.name, with_spares=False)
            assert use.free + use.spare == self.free(use.name, with_spares=True)
            nodes = self.topology.domains[use.name].nodes
            assert use.used == sum(used[node.name] for node in nodes)
            assert use.free + use.spare + use.lost + use.used == use.gpus
        pieces = fragmentation(self.placement)
        assert 0 <= pieces.stranded <= pieces.free
        assert pieces.largest_block <= pieces.free


PlacementMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPlacement = PlacementMachine.TestCase


@given(topologies(), st.lists(gang_shapes(), max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_same_gangs_on_the_same_machines_land_in_the_same_places(topology: Topology, shapes: list[Gang]) -> None:
    """A placement can be replayed, and no gang is forgotten."""
    gangs = [named(shape, f"g{number}") for number, shape in enumerate(shapes)]
    first, second = Placement(topology).place_all(gangs), Placement(topology).place_all(gangs)
    assert first == second
    assert len(first.placed) + len(first.waiting) == len(gangs)


@given(topologies(), st.lists(sizes, max_size=12))
@settings(max_examples=60, deadline=None)
def test_single_groups_leave_no_room_that_one_of_them_could_use(topology: Topology, tensors: list[int]) -> None:
    """A gang of one group waits only if no domain has its GPUs free."""
    placement = Placement(topology)
    outcome = placement.place_all([Gang(f"g{number}", "m", tensor) for number, tensor in enumerate(tensors)])
    free = max(use.free for use in domain_uses(placement))
    assert all(why.gang.tensor > free for why in outcome.waiting)
