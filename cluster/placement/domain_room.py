"""One NVLink domain's free GPUs, node by node, and which of its nodes are kept as spares."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cluster.placement.topology import Domain


@dataclass(slots=True)
class DomainRoom:
    """What is free in a domain.

    Spares are chosen anew whenever something changes: the last wholly free nodes, as many as are to be kept. Ordinary
    gangs never take them, so they stay free until a gang that lost a node is rebuilt there.

    Attributes:
        domain: whose room it is.
        order: its position among all domains.
        keep_spares: nodes to keep.
        free: by node, GPUs free; 0 on lost nodes.
        lost: nodes that are down.
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
        """Nodes kept for rebuilding."""
        return self._spares or frozenset()

    def room(self, *, with_spares: bool) -> int:
        """Return GPUs that may be taken."""
        return self._free_gpus if with_spares else self._open_gpus

    @property
    def is_unused(self) -> bool:
        """Whether all of it is free."""
        return self._free_gpus == self.domain.gpus

    def starts_well_on(self, node: str, count: int, *, with_spares: bool) -> bool:
        """Tell whether `count` GPUs can be taken beginning on `node`, on no more nodes than elsewhere here."""
        usable = {name: free for name, free in self.free.items() if with_spares or name not in self.spares}
        first = usable.pop(node, 0)
        if not first:
            return False
        rest = sorted(usable.values(), reverse=True)
        return 1 + _nodes_for(count - first, rest) <= _nodes_for(count, sorted([first, *rest], reverse=True))

    def take(self, count: int, *, with_spares: bool, driver_node: str = "") -> list[str]:
        """Take `count` GPUs and return the node of each, on as few nodes as possible.

        One node that just holds them is best; else whole nodes in order, and the remainder where it leaves least over.

        Args:
            count: how many.
            with_spares: spares may be taken too.
            driver_node: the node to begin on, if it `starts_well_on` it.

        Raises:
            ValueError: there are not as many.
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
        """Take `count` GPUs of a node, spare or not: somebody has them already.

        Raises:
            ValueError: there are not as many.
        """
        if count > self.free[node]:
            raise ValueError(f"{node} has {self.free[node]} GPUs free, not {count}")
        self.free[node] -= count
        self._refresh()

    def give_back(self, node: str, gpus: int) -> None:
        """Give GPUs of `node` back; on a lost node they stay gone."""
        if node not in self.lost:
            self.free[node] += gpus
            self._refresh()

    def lose(self, node: str) -> None:
        """Take a node out: it has nothing free until it is back."""
        self.lost.add(node)
        self.free[node] = 0
        self._refresh()

    def restore(self, node: str) -> None:
        """Take a lost node back in, all of it free."""
        self.lost.discard(node)
        self.free[node] = next(each.gpus for each in self.domain.nodes if each.name == node)
        self._refresh()

    def _refresh(self) -> None:
        whole = [node for node in self.domain.nodes if self.free[node.name] == node.gpus]
        kept = whole[len(whole) - min(self.keep_spares, len(whole)) :] if self.keep_spares else []
        self._spares = frozenset(node.name for node in kept)
        self._free_gpus = sum(self.free.values())
        self._open_gpus = self._free_gpus - sum(node.gpus for node in kept)


def _nodes_for(count: int, free: Sequence[int]) -> int:
    """Return how many nodes `count` GPUs take at least; `free`: of each, the most first."""
    nodes = 0
    while count > 0 and nodes < len(free):
        count -= free[nodes]
        nodes += 1
    return nodes if count <= 0 else len(free) + 1


def _free_gpus(entry: tuple[int, str]) -> int:
    return entry[0]
