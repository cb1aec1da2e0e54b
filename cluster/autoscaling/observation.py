"""What the autoscaler has learned about a model from the metrics so far."""

from dataclasses import dataclass, field, replace

from cluster.autoscaling.cold_start import ColdStart
from cluster.autoscaling.demand import Demand
from cluster.autoscaling.ewma import Ewma, kept
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.replica_rate import ReplicaRate

_SMOOTHING_S = 30.0
"""Time constant of the smoothed figures, seconds."""
_SUSTAINED_S = 300.0
"""Time constant of the sustained rate, seconds."""
_SETTLE_S = 10.0
"""Seconds that load must have been steady before a replica's rate is learned from it."""
_STEADY_SHARE = 0.05
"""Share by which the requests on the replicas may change while the load counts as steady.

Work dispatched while batches fill or empty says nothing about a rate that lasts. So the rate is learned only while
requests wait, no replica comes or goes, and the requests on the replicas stay the same up to this share."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What has been learned as of the last metrics. Times are monotonic seconds.

    Attributes:
        at_s: when the last metrics came; None: none came yet.
        demand: the last minutes of offered work.
        rate: work a second of a replica at its limit.
        cold_start: durations of starts.
        served: work done a second by all replicas, smoothed over `_SMOOTHING_S`.
        sustained: work done a second by each replica, smoothed over `_SUSTAINED_S`.
        utilised: share of the replicas' capacity in use, smoothed.
        queued: seconds that a request arriving now will wait, smoothed.
        dispatched_work: counter of dispatched work at the last metrics.
        engine_waiting_work: prompt tokens waiting in engines at the last metrics.
        ready: replicas ready at the last metrics.
        steady_since_s: since when requests have been waiting without a break, with `ready` and `in_flight` unchanged;
            None: none wait.
        steady_in_flight: requests on the replicas at that time.
        busy_s: when there was work last.
    """

    at_s: float | None = None
    demand: Demand = field(default_factory=Demand)
    rate: ReplicaRate = field(default_factory=ReplicaRate)
    cold_start: ColdStart = field(default_factory=ColdStart)
    served: Ewma = field(default_factory=Ewma)
    sustained: Ewma = field(default_factory=Ewma)
    utilised: Ewma = field(default_factory=Ewma)
    queued: Ewma = field(default_factory=Ewma)
    dispatched_work: float = 0.0
    engine_waiting_work: float = 0.0
    ready: int = 0
    steady_since_s: float | None = None
    steady_in_flight: int = 0
    busy_s: float = 0.0

    def observe(self, metrics: FleetMetrics, now_s: float) -> "Observation":
        """Return a copy that has learned from `metrics`."""
        is_busy = bool(metrics.ongoing_requests or metrics.waiting_work)
        steady_since_s, steady_in_flight = self._steady_since(metrics, now_s)
        seen = replace(
            self,
            at_s=now_s,
            demand=self.demand.observe(metrics.offered_work, metrics.offered_work_squared, now_s),
            cold_start=self.cold_start.observe(metrics.start_durations_s),
            dispatched_work=metrics.dispatched_work,
            engine_waiting_work=metrics.engine_waiting_work,
            ready=metrics.ready,
            steady_since_s=steady_since_s,
            steady_in_flight=steady_in_flight,
            busy_s=now_s if is_busy or self.at_s is None else self.busy_s,
        )
        if self.at_s is None or now_s <= self.at_s:
            return seen
        elapsed_s = now_s - self.at_s
        # Work sent to the engines, less the part that only piled up there. A sample can be below 0: dispatches count at
        # once, but engines' reports come later.
        served = max(0.0, metrics.dispatched_work - self.dispatched_work)
        served -= metrics.engine_waiting_work - self.engine_waiting_work
        if seen.steady_since_s is not None and self.at_s - seen.steady_since_s >= _SETTLE_S:
            seen = replace(seen, rate=seen.rate.observe(served, elapsed_s * metrics.ready))
        rate = seen.work_per_replica_s(metrics)
        # The first sample has the full weight; later ones fall to the weight of an exponential mean.
        keep = kept(elapsed_s, _SMOOTHING_S)
        seen = replace(
            seen,
            served=self.served.observed(served, elapsed_s, keep),
            utilised=self.utilised.observed(metrics.utilisation * elapsed_s, elapsed_s, keep),
            queued=self.queued.observed(queue_s(metrics, rate) * elapsed_s, elapsed_s, keep),
        )
        if not metrics.ready:
            return seen
        per_replica = served / metrics.ready
        return replace(seen, sustained=self.sustained.observed(per_replica, elapsed_s, kept(elapsed_s, _SUSTAINED_S)))

    @property
    def utilisation(self) -> float:
        """Share of what the ready replicas can hold at once that is taken, smoothed, 0 to 1."""
        return self.utilised.mean

    @property
    def queue_s(self) -> float:
        """Seconds that a request which comes now will wait, smoothed."""
        return self.queued.mean

    def work_per_replica_s(self, metrics: FleetMetrics) -> float:
        """Return the work a second of one replica at its limit; 0: not known.

        Until replicas have been seen at their limit, it is extrapolated from their utilisation. Batches fill faster
        than the load rises, so the result is too high rather than too low, and improves as load nears the limit.
        """
        if self.rate.per_s > 0:
            # A rate that lasted for minutes is possible, whatever was learned at the limit.
            return max(self.rate.per_s, self.sustained.mean if self.sustained.weight >= _SUSTAINED_S / 2 else 0.0)
        if not metrics.ready or self.utilisation <= 0:
            return 0.0
        return max(0.0, self.served.mean) / metrics.ready / self.utilisation

    def _steady_since(self, metrics: FleetMetrics, now_s: float) -> tuple[float | None, int]:
        if not metrics.waiting_requests or not metrics.ready:
            return None, 0
        changed = abs(metrics.in_flight - self.steady_in_flight) > max(1.0, _STEADY_SHARE * self.steady_in_flight)
        if metrics.ready != self.ready or self.steady_since_s is None or changed:
            return now_s, metrics.in_flight
        return self.steady_since_s, self.steady_in_flight


def queue_s(metrics: FleetMetrics, work_per_replica_s: float) -> float:
    """Return about how many seconds a request arriving now will wait, in the gateway and then in the best replica.

    Only the least busy engine counts: while one engine prefills a long prompt, requests go to another.

    Args:
        metrics: the latest metrics.
        work_per_replica_s: work a second of one replica at its limit; 0: not known, then gateways' queues are left out.
    """
    if work_per_replica_s <= 0:
        return metrics.engine_wait_s
    return metrics.waiting_work / (work_per_replica_s * max(1, metrics.ready)) + metrics.engine_wait_s
