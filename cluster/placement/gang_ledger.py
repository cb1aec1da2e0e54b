"""Decides on a live cluster which gang gets which GPUs and which gangs wait. Pure: time is passed in.

The cluster itself is the memory. `look` takes what Ray has (nodes, free GPUs, placement groups of gangs), so a ledger
that starts anew knows everything after one look. What it keeps besides is short-lived: grants whose placement group is
still being made, gangs that wait, nodes that are down, and how many gangs of each model lost a node and may take
spares.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cluster.errors import TopologyError
from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.placement import Placement
from cluster.placement.topology import Node, Topology

GRANT_S: Final = 30.0
"""Seconds after which a grant without a placement group is void: its replica has died on the way."""
UNHEARD_S: Final = 10.0
"""Seconds without a request after which a gang no longer waits; replicas ask every second."""


@dataclass(frozen=True, slots=True)
class LiveNode:
    """A machine as Ray reports it.

    Attributes:
        node: the machine with its domain and rack, named by Ray's node id.
        free: GPUs that nobody uses.
        group: name of its node group (`ray.io/node-group`); "": none.
    """

    node: Node
    free: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A replica's request for GPUs.

    Attributes:
        gang: the gang, with a unique name.
        node_group: the node group to grow when the gang fits nowhere; "": that of the domain with the most free GPUs.
        driver_node: the node of the replica's driver, on which its gang should begin; "": not known.
    """

    gang: Gang
    node_group: str = ""
    driver_node: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A gang without a place.

    Attributes:
        request: its last request.
        why: why it has no place.
        since_s: when it first asked, monotonic seconds.
        heard_s: when it last asked, monotonic seconds.
    """

    request: Request
    why: WhyNot
    since_s: float
    heard_s: float


@dataclass(frozen=True, slots=True)
class WantedGpus:
    """GPUs the cluster should have, as a request to Ray's autoscaler for `count` bundles of one GPU.

    Attributes:
        count: number of GPUs.
        node_group: node group of their machines; "": any.
        accelerator: kind of GPU; "": any.
    """

    count: int
    node_group: str = ""
    accelerator: str = ""


@dataclass(slots=True)
class _Grant:
    placed: PlacedGang
    node_group: str
    void_s: float
    is_standing: bool = False


class GangLedger:
    """Grants places to gangs, the hardest to place first, by the rules of `cluster.placement.placement`.

    Args:
        spares_per_domain: number of nodes in each domain kept for gangs that lost a node.

    Attributes:
        waiting: gangs without a place, by name.
    """

    def __init__(self, spares_per_domain: int = 0) -> None:
        self.spares_per_domain = spares_per_domain
        self.waiting: dict[str, Waiting] = {}
        self._nodes: tuple[LiveNode, ...] = ()
        self._lost: dict[str, Node] = {}
        self._grants: dict[str, _Grant] = {}
        self._owed = Counter[str]()

    @property
    def placed(self) -> dict[str, PlacedGang]:
        """The gangs that have a place, by name."""
        return {name: grant.placed for name, grant in self._grants.items()}

    def look(self, nodes: Iterable[LiveNode], standing: Mapping[str, PlacedGang], now_s: float) -> None:
        """Take in the present state of the cluster.

        Args:
            nodes: nodes that are alive, neighbours adjacent.
            standing: gangs whose placement groups exist, by name.
            now_s: the time, monotonic seconds.
        """
        before, self._nodes = self._nodes, tuple(nodes)
        alive = {live.node.name for live in self._nodes}
        self._remember_lost(before, alive)
        for name, grant in list(self._grants.items()):
            if not alive.issuperset(grant.placed.nodes):
                self._owed[grant.placed.gang.label] += 1
                del self._grants[name]
            elif name in standing:
                grant.is_standing = True
            elif grant.is_standing or now_s >= grant.void_s:
                del self._grants[name]
        for name, placed in standing.items():
            if name not in self._grants and alive.issuperset(placed.nodes):
                self._grants[name] = _Grant(placed, "", now_s, is_standing=True)
        for name in [name for name, waiting in self.waiting.items() if now_s - waiting.heard_s > UNHEARD_S]:
            del self.waiting[name]

    def ask(self, request: Request, now_s: float) -> PlacedGang | WhyNot:
        """Return a gang's place, granted now or before, or why it has none; a replica without a place asks again.

        All waiting gangs are placed together, the hardest first, so that small gangs that asked just before do not shut
        out a large one.
        """
        name = request.gang.name
        if name not in self._grants:
            known = self.waiting.get(name)
            why = known.why if known else WhyNot(request.gang, "has just asked", request.gang.unit_gpus, 0, 0, "", 0)
            self.waiting[name] = Waiting(request, why, known.since_s if known else now_s, now_s)
            self._grant_what_fits(now_s)
        return self._grants[name].placed if name in self._grants else self.waiting[name].why

    def stands(self, name: str) -> None:
        """Note that a gang's placement group exists; if a later `look` does not show the group, the gang has ended.

        Without this note, a gang that started and ended between two looks would keep its GPUs until its grant is void.
        """
        if name in self._grants:
            self._grants[name].is_standing = True

    def forget(self, name: str) -> None:
        """Drop a gang's grant or its waiting request."""
        self._grants.pop(name, None)
        self.waiting.pop(name, None)

    def placement(self) -> Placement:
        """Return the cluster as a placement with all grants and all other use entered.

        Raises:
            TopologyError: the nodes' labels contradict each other.
        """
        nodes = [live.node for live in self._nodes if live.node.gpus]
        topology = Topology.of([*nodes, *self._lost.values()])
        placement = Placement(
            topology, spares_per_domain=self.spares_per_domain, lost=self._lost, small_domains_keep_fewer=True
        )
        ours = Counter[str]()
        for grant in self._grants.values():
            placement.adopt(grant.placed)
            ours.update(grant.placed.nodes)
        for live in self._nodes:
            # Ray may still count a grant's GPUs as free, or those of a gang that just ended as used: assume fewer free.
            others = live.node.gpus - live.free - ours[live.node.name]
            if others > 0:
                placement.occupy(live.node.name, others)
        return placement

    def wanted(self) -> list[WantedGpus]:
        """Return all GPUs the cluster should have so that no gang waits, used ones included; empty if nothing waits."""
        if not self.waiting:
            return []
        wanted = [
            WantedGpus(grant.placed.gang.gpus, grant.node_group, grant.placed.gang.accelerator)
            for grant in self._grants.values()
        ]
        ours = sum(each.count for each in wanted)
        others = sum(live.node.gpus - live.free for live in self._nodes) - ours
        wanted += [WantedGpus(others)] if others > 0 else []
        for waiting in self.waiting.values():
            gang = waiting.request.gang
            wanted.append(WantedGpus(gang.gpus, self.group_for(waiting), gang.accelerator))
        return wanted

    def group_for(self, waiting: Waiting) -> str:
        """Return the node group to grow for a waiting gang: the one it asked for, else that of the best domain."""
        if waiting.request.node_group:
            return waiting.request.node_group
        return next((live.group for live in self._nodes if live.node.domain == waiting.why.best_domain), "")

    def _remember_lost(self, before: Iterable[LiveNode], alive: set[str]) -> None:
        """Remember nodes that are down as lost nodes of their domains.

        Without them a domain would look smaller and keep fewer spares, just when a gang that lost a node needs one. A
        machine that starts again has a new name, so each new node of a domain replaces one that was lost. A domain
        without any node left is forgotten.
        """
        known = {live.node.name for live in before} | self._lost.keys()
        newcomers = Counter(live.node.domain for live in self._nodes if live.node.name not in known)
        domains = {live.node.domain for live in self._nodes}
        lost = {name: node for name, node in self._lost.items() if name not in alive}
        lost |= {live.node.name: live.node for live in before if live.node.name not in alive and live.node.gpus}
        self._lost = {}
        for name, node in lost.items():
            if newcomers[node.domain]:
                newcomers[node.domain] -= 1
            elif node.domain in domains:
                self._lost[name] = node

    def _grant_what_fits(self, now_s: float) -> None:
        try:
            placement = self.placement()
        except TopologyError as error:
            for name, waiting in self.waiting.items():
                gang = waiting.request.gang
                why = WhyNot(gang, f"the nodes' labels are wrong: {error}", gang.unit_gpus, gang.units, 0, "", 0)
                self.waiting[name] = Waiting(waiting.request, why, waiting.since_s, waiting.heard_s)
            return
        hardest_first = sorted(
            self.waiting.items(),
            key=lambda item: (-item[1].request.gang.unit_gpus, -item[1].request.gang.gpus, item[1].since_s),
        )
        for name, waiting in hardest_first:
            gang, driver_node = waiting.request.gang, waiting.request.driver_node
            result = placement.place(gang, driver_node=driver_node)
            if isinstance(result, WhyNot) and self._owed[gang.label]:
                result = placement.place(gang, rebuild=True, driver_node=driver_node)
            if isinstance(result, WhyNot):
                self.waiting[name] = Waiting(waiting.request, result, waiting.since_s, waiting.heard_s)
                continue
            self._owed[gang.label] -= bool(self._owed[gang.label])
            self._grants[name] = _Grant(result, waiting.request.node_group, now_s + GRANT_S)
            del self.waiting[name]

    def check_integrity(self) -> None:
        """Check that no gang both waits and has a place, and audit the placement.

        Raises:
            AssertionError: something is wrong; the message says what.
        """
        if self.waiting.keys() & self._grants.keys():
            raise AssertionError("a gang that has a place waits")
        if any(count < 0 for count in self._owed.values()):
            raise AssertionError("more gangs were rebuilt than were lost")
        self.placement().check_integrity()
