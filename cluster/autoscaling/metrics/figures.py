"""The figures of one model that gateways and replicas send to the autoscaler, twice a second."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """One model's load in one gateway. Work is estimated in tokens, as flow control counts it.

    The `offered_…` and `slo_…` figures, `dispatched_work` and `prefill_s` are totals since the gateway first served the
    model.

    Attributes:
        waiting_requests: requests that wait in this gateway.
        waiting_work: work of the waiting requests.
        offered_requests: requests offered to this gateway; those it refused are included.
        offered_work: work of the offered requests.
        offered_work_squared: sum of the squares of the offered requests' works.
        dispatched_work: work of the requests sent to replicas.
        prefill_s: seconds of prefill of the requests sent to replicas.
        occupancy: share of the replicas' batch places that the requests of all gateways take, 0 to 1.
        slo_requests: requests that ended and were to have some latency (the model's `slo`).
        slo_met: number of these that had it.
    """

    waiting_requests: int = 0
    waiting_work: float = 0.0
    offered_requests: int = 0
    offered_work: float = 0.0
    offered_work_squared: float = 0.0
    dispatched_work: float = 0.0
    prefill_s: float = 0.0
    occupancy: float = 0.0
    slo_requests: int = 0
    slo_met: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """The load of one replica that takes requests.

    Attributes:
        in_flight: requests on it.
        waiting_tokens: prompt tokens not yet prefilled.
        prefill_tokens_per_s: prompt tokens that it prefills a second; 0: not known.
        kv_usage: share of its KV cache in use, 0 to 1.
        start_s: seconds from the start of its process until it was ready.
        accepted: requests that it took since its start.
    """

    in_flight: int = 0
    waiting_tokens: int = 0
    prefill_tokens_per_s: float = 0.0
    kv_usage: float = 0.0
    start_s: float = 0.0
    accepted: int = 0
