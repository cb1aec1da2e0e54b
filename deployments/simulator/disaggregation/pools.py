"""The pools of a simulated fleet, and the replicas in them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.memory import kv_bytes_on_one_gpu
from cluster.spec.kv_duties import KvDuties
from cluster.spec.role import Role
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.disaggregation.step_times import StepTimes
from deployments.simulator.disaggregation.transferring_replica import TransferringReplica
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.kv_transfer import KvTransfer

MODEL = "sim"
CONNECTOR = "NixlConnector"

OwnerT = TypeVar("OwnerT")


@dataclass(frozen=True, slots=True)
class SimPool:
    """A pool of equal replicas.

    Attributes:
        name: its name.
        role: what its replicas do.
        replicas: number of replicas.
        step_tokens: tokens of their largest step.
    """

    name: str
    role: Role
    replicas: int
    step_tokens: int


@dataclass(frozen=True, slots=True)
class PooledFleet:
    """The replicas that a load runs on.

    Attributes:
        cost: cost model of a replica; each pool has its own `step_tokens`.
        pools: the pools. Their replicas are dealt to the domains in turn, so that each pool has some in most domains.
        domains: number of NVLink domains.
        max_sequences: most sequences that a replica runs at once.
        report_every_s: seconds between two reports of a busy replica.
    """

    cost: ReplicaCost
    pools: Sequence[SimPool]
    domains: int = 4
    max_sequences: int = 1024
    report_every_s: float = 0.25

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.cost.layout.gpus * sum(pool.replicas for pool in self.pools)


class Member(Generic[OwnerT]):
    """One replica of a simulated fleet.

    Attributes:
        endpoint: its row in the directory.
        machine: its engine.
        is_quiet: its last report said that it is idle, and nothing came since.
        scheduled_s: time of the engine's next event in the queue of events; None: none was put there.
    """

    __slots__ = ("endpoint", "is_quiet", "machine", "scheduled_s")

    def __init__(self, endpoint: Endpoint, machine: TransferringReplica[OwnerT]) -> None:
        self.endpoint = endpoint
        self.machine = machine
        self.is_quiet = False
        self.scheduled_s: float | None = None


def members(fleet: PooledFleet, owner: type[OwnerT]) -> Iterator[Member[OwnerT]]:
    """Yield a fleet's replicas, idle and with empty caches.

    Args:
        fleet: the fleet.
        owner: what the caller keeps for each request.
    """
    del owner
    number = 0
    for pool in fleet.pools:
        duties = KvDuties.of(pool.role, (other.role for other in fleet.pools if other is not pool))
        cost = replace(fleet.cost, step_tokens=pool.step_tokens)
        times = StepTimes(cost)
        kv_tokens = int(cost.memory.kv_cache / kv_bytes_on_one_gpu(cost.shape, cost.layout, 1.0, cost.kv_precision))
        for _ in range(pool.replicas):
            machine: TransferringReplica[OwnerT] = TransferringReplica(
                times, kv_tokens=kv_tokens, step_tokens=pool.step_tokens, max_sequences=fleet.max_sequences
            )
            endpoint = Endpoint(
                f"{pool.name}-{number:04d}",
                MODEL,
                "sim",
                0,
                signals=frozenset({Signal.LOAD, Signal.RATES, Signal.RESIDENCY}),
                domain=f"domain-{number % fleet.domains}",
                kv_tokens=kv_tokens,
                pool=pool.name,
                role=pool.role,
                transfer=_transfer(duties, cost) if duties else None,
            )
            yield Member(endpoint, machine)
            number += 1


def _transfer(duties: KvDuties, cost: ReplicaCost) -> KvTransfer:
    return KvTransfer(
        CONNECTOR,
        sends=duties.sends,
        receives=duties.receives,
        block_tokens=BLOCK_TOKENS,
        layout=f"{cost.shape.name} {cost.kv_precision.name}",
        bytes_per_token=round(cost.shape.kv_bytes_per_token(cost.kv_precision)),
    )
