"""Where a replica is and what telemetry it provides: one row of the directory."""

from dataclasses import dataclass
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
