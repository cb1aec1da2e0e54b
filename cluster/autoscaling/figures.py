"""What gateways and replicas tell the autoscaler of one model, twice a second."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """One model as one gateway knows it. Work is in tokens, as admission counts it.

    Attributes:
        waiting_requests: requests that wait in this gateway.
        waiting_work: their work.
        offered_requests: requests ever offered to this gateway, those refused included.
        offered_work: their work.
        offered_work_squared: the sum of their works' squares.
        dispatched_work: work of the requests it ever sent to replicas.
        prefill_s: seconds of prefill it ever gave to replicas.
        occupancy: share of the replicas' batch places that is taken, by the requests of all gateways, 0 to 1.
    """

    waiting_requests: int = 0
    waiting_work: float = 0.0
    offered_requests: int = 0
    offered_work: float = 0.0
    offered_work_squared: float = 0.0
    dispatched_work: float = 0.0
    prefill_s: float = 0.0
    occupancy: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """One replica that takes requests.

    Attributes:
        in_flight: requests on it.
        waiting_tokens: prompt tokens not yet prefilled.
        prefill_tokens_per_s: prompt tokens it works off a second; 0: not known.
        kv_usage: share of its KV cache in use, 0 to 1.
        start_s: how long it took from its process' first line until it was ready.
    """

    in_flight: int = 0
    waiting_tokens: int = 0
    prefill_tokens_per_s: float = 0.0
    kv_usage: float = 0.0
    start_s: float = 0.0
