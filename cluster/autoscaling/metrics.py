"""What an autoscaling policy is told of one model, every half second or so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FleetMetrics:
    """One model's load and replicas, summed over its gateways and replicas.

    Work is estimated work in tokens, as the gateways' admission counts it. The `offered_…` and `dispatched_…` sums only
    grow, except where a gateway restarts; a policy goes by their differences.

    Attributes:
        ready: replicas that take requests.
        starting: replicas that have been ordered and are not ready yet.
        waiting_requests: requests that wait in gateways.
        waiting_work: their work.
        engine_waiting_work: prompt tokens not yet prefilled in the replicas' engines.
        engine_wait_s: how long a request would wait inside the replica where it would wait least.
        in_flight: requests on these, not on replicas that are stopping.
        utilisation: share of what the ready replicas can hold at once that is taken, 0 to 1: the largest of batch
            places, prefill time and KV cache.
        offered_requests: requests ever offered, those refused for lack of capacity included.
        offered_work: their work.
        offered_work_squared: the sum of their works' squares: how much chance there is in `offered_work`.
        dispatched_work: work of the requests ever sent to a replica.
        start_durations_s: how long the starts took that have ended since the last metrics, from order to ready.
    """

    ready: int
    starting: int = 0
    waiting_requests: int = 0
    waiting_work: float = 0.0
    engine_waiting_work: float = 0.0
    engine_wait_s: float = 0.0
    in_flight: int = 0
    utilisation: float = 0.0
    offered_requests: int = 0
    offered_work: float = 0.0
    offered_work_squared: float = 0.0
    dispatched_work: float = 0.0
    start_durations_s: tuple[float, ...] = ()

    @property
    def ongoing_requests(self) -> int:
        """Requests that wait or are on a replica: what Ray Serve counts."""
        return self.waiting_requests + self.in_flight
