"""The replicas of a simulated cluster: ordered, placed on machines, started, drained, lost and updated.

What Ray Serve does live is done here in virtual time; where a replica goes, the live placer decides.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Final

from cluster.placement.gang import PlacedGang
from cluster.placement.gang_ledger import GangLedger, LiveNode, Request
from cluster.placement.gang_of_model import gang_of_model
from cluster.placement.topology import Node, Topology
from deployments.twin.engines.replica_kind import ReplicaKind
from deployments.twin.member import Stage, TwinReplica
from router.replicas.endpoint import Endpoint, Signal

UPDATED_AT_ONCE: Final = 0.2
"""Share of a deployment's replicas that Ray Serve replaces at the same time in a rolling update, at least one."""
_SIGNALS: Final = frozenset({Signal.LOAD, Signal.RATES})


class Pool:
    """One pool of a model.

    Attributes:
        kind: what its replicas are.
        model: number of its model.
        target: replicas that it is to have.
        version: number of updates so far.
        members: its replicas that are not gone.
    """

    __slots__ = ("kind", "members", "model", "target", "version")

    def __init__(self, kind: ReplicaKind, model: int) -> None:
        self.kind = kind
        self.model = model
        self.target = kind.spec.replicas.min
        self.version = 0
        self.members: list[TwinReplica] = []


class TwinFleet:
    """All replicas, and the machines that they run on.

    Args:
        kinds: what the replicas of each pool are, by model.
        topology: the machines.
        spares_per_domain: machines of each domain kept for replicas that lost one.
        gateways: number of gateways.
        starts: called with each replica that has its machines, which is ready after its kind's `start_s`.
        stops: called with each replica that is to leave, or is taken back before it was ready.

    Attributes:
        pools: the pools, in the cluster file's order.
        members: all replicas that are not gone, by id.
        gpu_s: GPU-seconds of replicas that are gone.
        lost: replicas that were lost with a machine.
        unplaced_s: seconds that replicas waited for machines.
        adapter_loads: adapters that replicas loaded which are gone.
    """

    def __init__(  # noqa: PLR0913 - the parts of a cluster
        self,
        kinds: Sequence[Sequence[ReplicaKind]],
        topology: Topology,
        *,
        spares_per_domain: int,
        gateways: int,
        starts: Callable[[TwinReplica, float], None],
        stops: Callable[[TwinReplica, float], None],
    ) -> None:
        self.pools = [Pool(kind, number) for number, model in enumerate(kinds) for kind in model]
        self.members: dict[str, TwinReplica] = {}
        self.gpu_s = 0.0
        self.lost = 0
        self.unplaced_s = 0.0
        self.adapter_loads = 0
        self.topology = topology
        self._gateways = gateways
        self._starts, self._stops = starts, stops
        self._numbers = count()
        self._ledger = GangLedger(spares_per_domain)
        self._nodes: Sequence[Node] = topology.nodes
        self._away: set[str] = set()
        self._domain_of = {node.name: node.domain for node in self._nodes}
        self._look(0.0)

    # --- what a pool should have

    def reconcile(self, now_s: float) -> None:
        """Order, place and stop replicas so that each pool gets its target, of its latest version."""
        for pool in self.pools:
            self._reconcile(pool, now_s)

    def _reconcile(self, pool: Pool, now_s: float) -> None:
        staying = [each for each in pool.members if each.stage is not Stage.LEAVING]
        new = [each for each in staying if each.version == pool.version]
        old = [each for each in staying if each.version != pool.version]
        missing = pool.target - len(new)
        if old:
            under_way = sum(1 for each in new if each.stage is not Stage.READY)
            missing = min(missing, max(1, int(UPDATED_AT_ONCE * pool.target)) - under_way)
        new.extend([self._order(pool, now_s) for _ in range(missing)])
        unplaced = [each for each in new if each.stage is Stage.UNPLACED]
        for each in unplaced:
            self._place(each, now_s)
        unplaced = [each for each in unplaced if each.stage is Stage.UNPLACED]
        surplus = len(old) + sum(1 for each in new if each.stage is Stage.READY) - pool.target
        if old and surplus <= 0 and unplaced and not any(each.stage is Stage.LEAVING for each in pool.members):
            surplus = len(unplaced)  # there is no room for old and new: the old ones go first
        for each in old[: max(0, surplus)]:
            self._stop(each, now_s)
        if not old and len(new) > pool.target:
            # Starting ones go first, then those with the fewest requests to finish; the youngest of equals.
            new.sort(key=lambda each: (each.stage is Stage.READY, each.in_flight, -each.number))
            for each in new[: len(new) - pool.target]:
                self._stop(each, now_s)

    def _order(self, pool: Pool, now_s: float) -> TwinReplica:
        number = next(self._numbers)
        name = f"{pool.kind.spec.label}-{number:05d}"
        member = TwinReplica(name, number, pool.kind, pool.model, pool.version, self._gateways, now_s)
        pool.members.append(member)
        self.members[name] = member
        return member

    def _place(self, member: TwinReplica, now_s: float) -> None:
        spec = member.kind.spec
        answer = self._ledger.ask(Request(gang_of_model(spec, member.name), spec.node_group), now_s)
        if isinstance(answer, PlacedGang):
            self._ledger.stands(member.name)
            member.nodes = answer.nodes
            member.stage = Stage.STARTING
            member.placed_s = now_s
            self.unplaced_s += now_s - member.ordered_s
            self._starts(member, now_s)

    # --- a replica's life

    def ready(self, member: TwinReplica, now_s: float, *, tells_cache: bool) -> None:
        """Note that a replica is ready."""
        spec = member.kind.spec
        member.stage = Stage.READY
        member.ready_s = now_s
        member.endpoint = Endpoint(
            member.name,
            spec.name,
            "twin",
            0,
            signals=_SIGNALS | {Signal.RESIDENCY} if tells_cache else _SIGNALS,
            node_id=member.nodes[0],
            domain=self._domain_of[member.nodes[0]],
            kv_tokens=member.kind.kv_tokens,
            caches_prefixes=member.kind.caches,
            pool=spec.pool,
            role=spec.role,
            transfer=member.kind.transfer,
        )

    def _stop(self, member: TwinReplica, now_s: float) -> None:
        was_ready = member.stage is Stage.READY
        member.stage = Stage.LEAVING
        self._stops(member, now_s)
        if not was_ready or not member.in_flight:
            self.gone(member, now_s)

    def gone(self, member: TwinReplica, now_s: float) -> None:
        """Note that a replica has ended, and give its machines back."""
        if member.stage is Stage.GONE:
            return
        member.stage = Stage.GONE
        if member.placed_s >= 0.0:
            self.gpu_s += (now_s - member.placed_s) * member.kind.gpus
        else:
            self.unplaced_s += now_s - member.ordered_s
        self.adapter_loads += member.engine.adapters.loads if member.engine.adapters is not None else 0
        self._ledger.forget(member.name)
        self.members.pop(member.name, None)
        for pool in self.pools:
            if member in pool.members:
                pool.members.remove(member)

    def gpu_seconds(self, now_s: float) -> float:
        """Return the GPU-seconds of all replicas until now, from the moment that each had its machines."""
        running = sum((now_s - each.placed_s) * each.kind.gpus for each in self.members.values() if each.placed_s >= 0)
        return self.gpu_s + running

    def loads(self) -> int:
        """Return how often replicas loaded an adapter."""
        own = (each.engine.adapters for each in self.members.values())
        return self.adapter_loads + sum(each.loads for each in own if each is not None)

    # --- what happens to it

    def lose(self, name: str, now_s: float) -> list[TwinReplica]:
        """Take a node, domain or rack away; return the replicas that had a machine there, which are gone."""
        away = {node.name for node in self.topology.nodes_named(name)}
        self._away |= away
        hit = [each for each in self.members.values() if away.intersection(each.nodes)]
        for each in hit:
            self.lost += each.stage is Stage.READY
        self._look(now_s)
        return hit

    def restore(self, name: str, now_s: float) -> None:
        """Give a node, domain or rack back."""
        self._away -= {node.name for node in self.topology.nodes_named(name)}
        self._look(now_s)

    def update(self, model: str) -> None:
        """Replace all replicas of a model by new ones, a share of them at a time."""
        for pool in self.pools:
            if pool.kind.spec.name == model:
                pool.version += 1

    def _look(self, now_s: float) -> None:
        alive = [LiveNode(node, node.gpus) for node in self._nodes if node.name not in self._away]
        standing = {
            name: placed for name, placed in self._ledger.placed.items() if not self._away.intersection(placed.nodes)
        }
        self._ledger.look(alive, standing, now_s)

    def takers(self, model: int) -> list[Endpoint]:
        """Return the replicas of a model that take requests, as the directory lists them."""
        return [each.endpoint for each in self.members.values() if each.model == model and each.stage is Stage.READY]

    @property
    def is_settled(self) -> bool:
        """Whether each pool has its replicas, of its latest version, all with machines."""
        return all(
            len(pool.members) == pool.target
            and all(each.version == pool.version and each.stage is not Stage.UNPLACED for each in pool.members)
            for pool in self.pools
        )

    def count(self, stages: Iterable[Stage]) -> int:
        """Return how many replicas are in one of some stages."""
        wanted = set(stages)
        return sum(1 for each in self.members.values() if each.stage in wanted)


def machines_for(kinds: Iterable[ReplicaKind], hardware_of: Callable[[ReplicaKind], tuple[int, int]]) -> Topology:
    """Return just enough machines for the most replicas of each pool, where no topology file says which there are.

    Args:
        kinds: what the replicas of each pool are.
        hardware_of: returns the GPUs of a machine of their kind, and the machines of an NVLink domain.
    """
    nodes: list[Node] = []
    for number, kind in enumerate(kinds):
        per_node, per_domain = hardware_of(kind)
        whole = kind.spec.parallel
        unit = whole.tensor * whole.data if whole.experts_whole else whole.tensor
        domain_gpus = per_node * per_domain
        units_in_domain = max(1, domain_gpus // unit)
        units = kind.spec.replicas.max * (kind.gpus // unit)
        needed = -(-units // units_in_domain)
        for domain in range(needed):
            left = units - domain * units_in_domain
            machines = min(per_domain, -(-min(left, units_in_domain) * unit // per_node))
            rack = f"rack-{number}-{domain}"
            nodes.extend(Node(f"{rack}-n{place}", rack, rack, per_node, kind.accelerator) for place in range(machines))
    return Topology.of(nodes)
