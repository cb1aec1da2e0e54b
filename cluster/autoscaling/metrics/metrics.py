"""The input of an autoscaling policy: one model's load and replicas, about every half second."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FleetMetrics:
    """One model's load and replicas, summed over its gateways and replicas.

    Work is estimated in tokens, as the gateways' flow control counts it. The `offered_…`, `dispatched_…` and `slo_…`
    figures are totals, which only grow unless a gateway begins to count anew; a policy uses their differences.

    Attributes:
        ready: replicas that take requests.
        starting: replicas that are ordered and not ready yet.
        waiting_requests: requests that wait in gateways.
        waiting_work: work of the waiting requests.
        engine_waiting_work: prompt tokens not yet prefilled in the replicas' engines.
        engine_wait_s: seconds that a request would wait inside the replica where it would wait least.
        in_flight: requests on ready replicas; those on stopping replicas are left out.
        utilisation: share of the ready replicas' capacity in use, 0 to 1: the largest of the shares of batch places,
            prefill time and KV cache.
        offered_requests: requests offered; those that were refused are included.
        offered_work: work of the offered requests.
        offered_work_squared: sum of the squares of the offered requests' works, which shows how much `offered_work`
            varies by chance.
        dispatched_work: work of the requests sent to replicas.
        slo_requests: requests that ended and were to have some latency.
        slo_met: number of these that had it.
        start_durations_s: seconds from order to ready of each start that ended since the last metrics.
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
    slo_requests: float = 0.0
    slo_met: float = 0.0
    start_durations_s: tuple[float, ...] = ()

    @property
    def ongoing_requests(self) -> int:
        """Requests that wait or are on a replica, as Ray Serve counts them."""
        return self.waiting_requests + self.in_flight
