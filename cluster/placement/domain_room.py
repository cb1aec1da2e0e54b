"""One NVLink domain's free GPUs, node by node, and which of its nodes are kept as spares."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.placement.topology import Domain, Node


@dataclass(slots=True)
class DomainRoom:
    """The free GPUs of one domain.

    Spares are the last `keep_spares` nodes that are wholly free, chosen anew after every change. Ordinary gangs never
    take them, so they stay free until a gang that lost a node is rebuilt there.

    Attributes:
        domain: the domain.
        order: its position among all domains.
        keep_spares: number of nodes to keep as spares.
        free: free GPUs of each node, by the node's name; 0 on lost nodes.
        lost: names of the nodes that are down.
    """

    domain: Domain
    order: int
    keep_spares: int
    free: dict[str, int] = field(init=False)
    lost: set[str] = field(default_factory=set)
    _spares: frozenset[str] | None = None
    _open_gpus: int = 0
    _free_gpus: int = 0

    def __post_init__(self) -> None:
        self.free = {node.name: node.gpus for node in self.domain.nodes}
        self._refresh()

    @property
    def spares(self) -> frozenset[str]:
        """Names of the nodes kept for gangs that are rebuilt."""
        return self._spares or frozenset()

    def room(self, *, with_spares: bool) -> int:
        """Return the number of GPUs that may be taken."""
        return self._free_gpus if with_spares else self._open_gpus

    @property
    def is_unused(self) -> bool:
        """Whether every GPU of the domain is free."""
        return self._free_gpus == self.domain.gpus

    def starts_well_on(self, node: str, count: int, *, with_spares: bool) -> bool:
        """Tell whether `count` GPUs taken from `node` first span no more nodes than the best choice in this domain."""
        usable = {name: free for name, free in self.free.items() if with_spares or name not in self.spares}
        first = usable.pop(node, 0)
        if not first:
            return False
        rest = sorted(usable.values(), reverse=True)
        return 1 + _nodes_for(count - first, rest) <= _nodes_for(count, sorted([first, *rest], reverse=True))

    def take(self, count: int, *, with_spares: bool, driver_node: str = "") -> list[str]:
        """Take `count` GPUs on as few nodes as possible and return the node of each.

        The node with the fewest free GPUs that still holds them all is best. Otherwise the nodes with the most free
        GPUs are emptied one after another, and the remainder goes where it leaves the fewest GPUs over.

        Args:
            count: GPUs to take.
            with_spares: whether spares may be taken too.
            driver_node: the node to begin on, if `starts_well_on` holds for it; "": no preference.

        Raises:
            ValueError: fewer than `count` GPUs may be taken.
        """
        if count > self.room(with_spares=with_spares):
            raise ValueError(f"{self.domain.name} has no {count} GPUs to take")
        closed = frozenset() if with_spares else self.spares
        taken: list[str] = []
        if driver_node and self.starts_well_on(driver_node, count, with_spares=with_spares):
            taken += [driver_node] * min(count, self.free[driver_node])
            self.free[driver_node] -= len(taken)
        while len(taken) < count:
            wanted = count - len(taken)
            usable = [(free, name) for name, free in self.free.items() if free and name not in closed]
            holding = [entry for entry in usable if entry[0] >= wanted]
            free, name = min(holding, key=_free_gpus) if holding else max(usable, key=_free_gpus)
            number = min(wanted, free)
            self.free[name] -= number
            taken += [name] * number
        self._refresh()
        return taken

    def take_on(self, node: str, count: int) -> None:
        """Enter `count` GPUs of a node, spare or not, that are in use already.

        Raises:
            ValueError: the node has fewer than `count` GPUs free.
        """
        if count > self.free[node]:
            raise ValueError(f"{node} has {self.free[node]} GPUs free, not {count}")
        self.free[node] -= count
        self._refresh()

    def give_back(self, node: str, gpus: int) -> None:
        """Give back `gpus` GPUs of `node`; nothing becomes free on a lost node."""
        if node not in self.lost:
            self.free[node] += gpus
            self._refresh()

    def lose(self, node: str) -> None:
        """Mark a node as lost: it has no free GPUs until `restore`."""
        self.lost.add(node)
        self.free[node] = 0
        self._refresh()

    def restore(self, node: str) -> None:
        """Take a lost node back in with all of its GPUs free."""
        self.lost.discard(node)
        self.free[node] = next(each.gpus for each in self.domain.nodes if each.name == node)
        self._refresh()

    def _refresh(self) -> None:
        kept: list[Node] = []
        if self.keep_spares:
            kept = [node for node in self.domain.nodes if self.free[node.name] == node.gpus][-self.keep_spares :]
        self._spares = frozenset(node.name for node in kept)
        self._free_gpus = sum(self.free.values())
        self._open_gpus = self._free_gpus - sum(node.gpus for node in kept)


def _nodes_for(count: int, free: Sequence[int]) -> int:
    """Return the fewest nodes that hold `count` GPUs, or one more than there are if they hold fewer.

    Args:
        count: GPUs to hold.
        free: free GPUs of each node, largest first.
    """
    nodes = 0
    while count > 0 and nodes < len(free):
        count -= free[nodes]
        nodes += 1
    return nodes if count <= 0 else len(free) + 1


def _free_gpus(entry: tuple[int, str]) -> int:
    return entry[0]
