"""A replica's endpoint: where it is and which telemetry it provides."""

from dataclasses import dataclass
from enum import StrEnum

from cluster.spec.role import Role
from router.replicas.access import PLAIN, Access
from router.replicas.kv_transfer import KvTransfer
from router.replicas.model_card import ModelCard
from router.replicas.plan_promise import PlanPromise
from router.replicas.replica_model import ReplicaModel
from router.replicas.start_phases import StartPhases


class Signal(StrEnum):
    """A kind of telemetry that a policy may need of every replica."""

    LOAD = "load"
    RATES = "rates"
    RESIDENCY = "residency"


class Presence(StrEnum):
    """Whether a replica can be reached, as those who watch it say. One that ended for good is not listed at all."""

    HERE = "here"
    """It answers, or its node keeps it listed."""
    SILENT = "silent"
    """It has been slow to give a sign of life: it is picked only where no other replica is left."""
    AWAY = "away"
    """It cannot be reached and gets no requests. What is known of it is kept, as it may come back."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the directory: where a replica is, and what is known of it before it reports.

    Attributes:
        replica_id: its id; after a restart it has a new one, or another `started_s`. A server of several models has one
            row for each of them, all with the same id: what runs there is counted over all.
        model: the model it serves.
        host: the address of its node.
        http_port: its OpenAI-compatible HTTP port.
        telemetry_port: its gRPC telemetry port; 0: it has no telemetry.
        signals: the telemetry it provides.
        node_id: id of its Ray node; "": not known.
        domain: its NVLink domain (for a gang, that of its first rank); "": not known.
        kv_tokens: capacity of its KV cache in tokens; 0: not known before its first load report.
        caches_prefixes: False: its self-test has shown that it caches no prompts.
        affinity_proof: what its self-test found, in words; "": it made none.
        continues_messages: it is known to go on with a message that another replica began (`continue_final_message`)
            and to tell its usage with each event where asked (`continuous_usage_stats`), as vLLM does. A stream goes on
            there after its own replica failed; a server that ignores the first would answer anew.
        presence: whether it can be reached.
        started_s: when its process started, Unix seconds; 0: not known. With another value its cache is empty.
        card: what it says of the model; None: nothing.
        access: how requests are sent there.
        max_requests: requests of one gateway that may run there at once; 0: as many as flow control finds.
        pool: its pool's name; "": the model has one pool without a name.
        role: what it does of a request.
        transfer: what it can send and receive of its KV cache; None: nothing.
        start: what its start went to; None: not known.
        promise: what a plan promised of it; None: nothing.
        serves: what its model is for, and what the weights take; None: it does not tell.
        ranks: its data-parallel ranks, each with a batch and a prefix cache of its own. The directory has one row for a
            replica; gateways divide it into one for each rank (`router/replicas/ranks.py`).
        rank: the rank that this row stands for; None: it stands for the whole replica.
    """

    replica_id: str
    model: str
    host: str
    http_port: int
    telemetry_port: int = 0
    signals: frozenset[Signal] = frozenset()
    node_id: str = ""
    domain: str = ""
    kv_tokens: int = 0
    caches_prefixes: bool = True
    affinity_proof: str = ""
    continues_messages: bool = False
    presence: Presence = Presence.HERE
    started_s: float = 0.0
    card: ModelCard | None = None
    access: Access = PLAIN
    max_requests: int = 0
    pool: str = ""
    role: Role = Role.BOTH
    transfer: KvTransfer | None = None
    start: StartPhases | None = None
    promise: PlanPromise | None = None
    serves: ReplicaModel | None = None
    ranks: int = 1
    rank: int | None = None

    @property
    def whole_id(self) -> str:
        """The id of the replica that a rank belongs to, or its own."""
        return self.replica_id if self.rank is None else self.replica_id.removesuffix(f".{self.rank}")

    @property
    def way(self) -> tuple[str, int, Access]:
        """How its connections are made; they are of no use after a change."""
        return self.host, self.http_port, self.access
