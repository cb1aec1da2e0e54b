"""Gangs on a living cluster, in virtual time: whatever comes, goes and dies, the books are right."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cluster.placement.gang import Gang, PlacedGang
from cluster.placement.gang_ledger import GangLedger, LiveNode, Request
from cluster.placement.topology import Node

GPUS = 4
NODES = [
    Node(f"d{domain}-n{number}", f"d{domain}", f"r{domain // 2}", GPUS) for domain in range(4) for number in range(3)
]


class LivingCluster(RuleBasedStateMachine):
    """Replicas ask, make their placement groups late or never, and end; nodes die and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = GangLedger(spares_per_domain=1)
        self.now_s = 0.0
        self.alive = {node.name for node in NODES}
        self.standing: dict[str, PlacedGang] = {}
        self.torn: list[str] = []
        self.count = 0
        self.asking: dict[str, Request] = {}
        self.granted: dict[str, PlacedGang] = {}

    def look(self) -> None:
        """Show the ledger what Ray has."""
        used = Counter(node for placed in self.standing.values() for node in placed.nodes)
        nodes = [LiveNode(node, GPUS - used[node.name]) for node in NODES if node.name in self.alive]
        whole = {name: placed for name, placed in self.standing.items() if self.alive.issuperset(placed.nodes)}
        self.ledger.look(nodes, whole, self.now_s)

    @rule(
        tensor=st.sampled_from([1, 2, 4, 8, 12, 20]),
        pipeline=st.sampled_from([1, 1, 2, 3]),
        model=st.sampled_from(["a", "b"]),
        driver_node=st.sampled_from(["", "head", *(node.name for node in NODES)]),
    )
    def ask(self, tensor: int, pipeline: int, model: str, driver_node: str) -> None:
        """A new replica asks."""
        self.count += 1
        gang = Gang(f"{model}#{self.count}", model, tensor=tensor, pipeline=pipeline)
        self.asking[gang.name] = Request(gang, driver_node=driver_node)
        self.ask_again()

    @rule()
    def ask_again(self) -> None:
        """Everybody who waits asks; who has a place makes its placement group at some later time."""
        self.look()
        for name, request in list(self.asking.items()):
            answer = self.ledger.ask(request, self.now_s)
            if isinstance(answer, PlacedGang):
                self.granted[name] = answer
                del self.asking[name]

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), comes=st.booleans())
    def stand(self, data: st.DataObject, *, comes: bool) -> None:
        """A placement group is made, or its replica died before."""
        name = data.draw(st.sampled_from(sorted(self.granted)))
        placed = self.granted.pop(name)
        if comes and name in self.ledger.placed and self.alive.issuperset(placed.nodes):
            used = Counter(node for each in self.standing.values() for node in each.nodes)
            used.update(placed.nodes)
            assert max(used.values()) <= GPUS  # Ray can always make it: no GPU was promised twice
            self.standing[name] = placed

    @precondition(lambda self: self.standing)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A replica ends."""
        del self.standing[data.draw(st.sampled_from(sorted(self.standing)))]

    @rule(node=st.sampled_from([node.name for node in NODES]))
    def die(self, node: str) -> None:
        """A node dies; its gangs are torn down whole a while later."""
        self.alive.discard(node)
        self.look()
        self.standing = {name: placed for name, placed in self.standing.items() if node not in placed.nodes}

    @rule(node=st.sampled_from([node.name for node in NODES]))
    def come_back(self, node: str) -> None:
        """A node is back."""
        self.alive.add(node)

    @rule(seconds=st.sampled_from([1.0, 5.0, 31.0]))
    def pass_time(self, seconds: float) -> None:
        """Time passes; grants without a placement group become void."""
        self.now_s += seconds
        self.look()
        self.granted = {name: placed for name, placed in self.granted.items() if name in self.ledger.placed}

    @rule()
    def restart(self) -> None:
        """The ledger starts anew: grants on their way are the only thing it forgets."""
        if not self.granted:
            before = {name: placed for name, placed in self.ledger.placed.items() if name in self.standing}
            self.ledger = GangLedger(spares_per_domain=1)
            self.look()
            assert {name: placed.nodes for name, placed in self.ledger.placed.items()} == {
                name: placed.nodes for name, placed in before.items() if self.alive.issuperset(placed.nodes)
            }

    @invariant()
    def books_are_right(self) -> None:
        """No GPU twice, no unit over two domains, nobody both waits and stands."""
        self.look()
        self.ledger.check_integrity()


TestLivingCluster = LivingCluster.TestCase
