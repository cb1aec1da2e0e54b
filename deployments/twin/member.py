"""One replica of a simulated cluster, from its order until it is gone; and one request on its way through it."""

from enum import Enum, auto
from typing import TYPE_CHECKING

from deployments.simulator.disaggregation.transferring_replica import TransferringReplica
from deployments.twin.arrivals import Arrival
from deployments.twin.engines.replica_kind import ReplicaKind
from router.replicas.endpoint import Endpoint

if TYPE_CHECKING:
    from deployments.simulator.disaggregation.engine_sequence import EngineSequence
    from router.dispatch.ticket import Ticket


class Stage(Enum):
    """Where a replica is in its life."""

    UNPLACED = auto()
    """It is ordered and has no GPUs yet."""
    STARTING = auto()
    """It has its GPUs and loads the model."""
    READY = auto()
    """It takes requests."""
    LEAVING = auto()
    """It takes no new requests and finishes what it has."""
    GONE = auto()
    """It has ended."""


class Job:
    """One request.

    Attributes:
        arrival: the request as it came.
        number: its place among all requests.
        gateway: number of the gateway that it came to.
        model: number of its model.
        ticket: its ticket.
        dispatched_s: when it was first sent to a replica; below 0: it has not been.
        begun_s: when an engine first took it into its batch; below 0: none has.
        first_s: when its first token came; below 0: it has not.
        sent_tokens: tokens of its answer that the client had when its last replica was lost.
        cached_tokens: tokens of its prompt that were cached where it was computed.
        held: its sequence at the replica that computed its prompt for another, whose blocks are held; None: none is.
        holder: that replica.
        sequence: its sequence now; None: it is on no engine.
        resent: times that it was sent to another replica because its own was lost.
        held_cold: when it came no replica of its model took requests.
        fetched_s: seconds between its prompt's end at one replica and its blocks' arrival at another.
        adapter: the LoRA adapter that it is for; "": none.
    """

    __slots__ = (
        "adapter", "arrival", "begun_s", "cached_tokens", "dispatched_s", "fetched_s", "first_s", "gateway", "held",
        "held_cold", "holder", "model", "number", "resent", "sent_tokens", "sequence", "ticket",
    )  # fmt: skip

    def __init__(self, arrival: Arrival, number: int, gateway: int, model: int, adapter: str = "") -> None:
        self.adapter = adapter
        self.arrival = arrival
        self.number = number
        self.gateway = gateway
        self.model = model
        self.ticket: Ticket
        self.dispatched_s = self.begun_s = self.first_s = -1.0
        self.sent_tokens = 0
        self.cached_tokens = 0
        self.held: EngineSequence[Job] | None = None
        self.holder: TwinReplica | None = None
        self.sequence: EngineSequence[Job] | None = None
        self.resent = 0
        self.held_cold = False
        self.fetched_s = 0.0


class TwinReplica:
    """One replica.

    Attributes:
        name: its id.
        number: its number among all that were ever ordered.
        kind: what it is.
        model: number of its model.
        version: number of its model's updates before it.
        engine: its engine.
        endpoint: its row in the directory.
        stage: where it is in its life.
        ordered_s: when it was ordered.
        placed_s: when it got its GPUs; below 0: it has none yet.
        ready_s: when it was ready; below 0: it is not.
        nodes: the machines of its GPUs.
        accepted: requests that it has accepted from each gateway.
        in_flight: requests on it.
        holds: requests whose prompts it computed for other replicas, which have not fetched the blocks yet, by number.
        is_quiet: its last report said that it is idle, and nothing came since.
        scheduled_s: time of its engine's next event in the queue of events; below 0: none was put there.
    """

    __slots__ = (
        "accepted", "endpoint", "engine", "holds", "in_flight", "is_quiet", "kind", "model", "name", "nodes", "number",
        "ordered_s", "placed_s", "ready_s", "scheduled_s", "stage", "version",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917 - what is known when it is ordered
        self, name: str, number: int, kind: ReplicaKind, model: int, version: int, gateways: int, ordered_s: float
    ) -> None:
        self.name = name
        self.number = number
        self.kind = kind
        self.model = model
        self.version = version
        self.engine: TransferringReplica[Job] = TransferringReplica(
            kind.times,
            kv_tokens=kind.kv_tokens,
            step_tokens=kind.step_tokens,
            max_sequences=kind.max_sequences,
            adapters=kind.adapter_room(),
            block_tokens=kind.block_tokens,
        )
        self.endpoint = Endpoint(name, kind.spec.name, "twin", 0)
        self.stage = Stage.UNPLACED
        self.ordered_s = ordered_s
        self.placed_s = self.ready_s = -1.0
        self.nodes: tuple[str, ...] = ()
        self.accepted = [0] * gateways
        self.in_flight = 0
        self.holds: dict[int, Job] = {}
        self.is_quiet = False
        self.scheduled_s = -1.0
