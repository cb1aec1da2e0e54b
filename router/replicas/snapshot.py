"""One replica as one gateway sees it: what it last reported, and what this gateway has reserved on it since."""

from dataclasses import dataclass, field
from enum import StrEnum


class Signal(StrEnum):
    """A kind of telemetry a policy may need of every replica."""

    LOAD = "load"
    RATES = "rates"
    RESIDENCY = "residency"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a replica is: one row of the directory.

    Attributes:
        replica_id: unique for one life of one replica; a restarted replica has another.
        model: the model it serves.
        host: the address of its node.
        http_port: its OpenAI-compatible HTTP port.
        telemetry_port: its gRPC telemetry port; 0: it has none.
        signals: the telemetry it provides.
        node_id: the Ray node it is on, or "".
        domain: the NVLink domain it is in (of a gang, its first rank), or "".
        kv_tokens: tokens its KV cache holds, where that is known before any load report; 0: it is not.
        caches_prefixes: False: its self-test has shown that it caches no prompt.
        affinity_proof: what its self-test found, in words; "": none was made.
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


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a replica says of itself, as of `sequence`.

    Attributes:
        sequence: grows by one with each report of one replica life; a gap means reports were lost.
        running: requests in the engine's batch.
        waiting: requests in the engine's queue.
        waiting_tokens: prompt tokens not yet prefilled, of waiting and running requests.
        kv_usage: share of the KV cache in use, 0 to 1.
        kv_capacity_tokens: tokens the KV cache holds.
        prefill_tokens_per_s: prompt tokens computed a second, over the last busy seconds; 0: not known yet.
        decode_tokens_per_s: tokens generated a second, likewise.
        accepted: requests this replica has accepted from the gateway that is told, over the replica's life.
        step_tokens: the most tokens the engine computes in one step; 0: not known.
        gateways: gateways that have requests there; 0: not known.
    """

    sequence: int
    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    accepted: int = 0
    step_tokens: int = 0
    gateways: int = 0


@dataclass(slots=True)
class ReplicaSnapshot:
    """A replica's last report and this gateway's own reservations on it.

    Attributes:
        endpoint: where it is.
        report: the last load report; None before the first, or where it has no telemetry.
        in_flight: requests this gateway has sent there and not yet seen end.
        accepting: it may be picked; False while it does not answer.
        leaving: it has said that it takes no more requests: it is never picked again.
        silent: its telemetry was heard and is no more: it may be dead, and is picked only where no other is left.
        sent: requests this gateway has ever sent there (reservations made).
    """

    endpoint: Endpoint
    report: LoadReport | None = None
    in_flight: int = 0
    accepting: bool = True
    leaving: bool = False
    silent: bool = False
    sent: int = 0
    failures: int = field(default=0)

    @property
    def usable(self) -> bool:
        """Whether it should be picked before others that are not."""
        return self.accepting and not self.silent

    @property
    def replica_id(self) -> str:
        """The replica's id."""
        return self.endpoint.replica_id

    @property
    def load(self) -> int:
        """Requests on the replica, as best known: all gateways' as last reported, at least this gateway's own."""
        report = self.report
        if report is None:
            return self.in_flight
        return max(self.in_flight, report.running + report.waiting)
