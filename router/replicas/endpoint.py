"""A replica's endpoint: where it is and which telemetry it provides."""

from dataclasses import dataclass
from enum import StrEnum

from router.replicas.access import PLAIN, Access


class Signal(StrEnum):
    """A kind of telemetry that a policy may need of every replica."""

    LOAD = "load"
    RATES = "rates"
    RESIDENCY = "residency"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the directory: where a replica is, and what is known of it before it reports.

    Attributes:
        replica_id: its id; after a restart it has a new one.
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
        access: how requests are sent there.
        max_requests: requests of one gateway that may run there at once; 0: as many as flow control finds.
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
    access: Access = PLAIN
    max_requests: int = 0
