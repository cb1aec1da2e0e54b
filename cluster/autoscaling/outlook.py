"""What is expected of the time at which a replica ordered now would be ready."""

from dataclasses import dataclass

from cluster.autoscaling.metrics import FleetMetrics
from cluster.autoscaling.observation import Observation, queue_s
from cluster.autoscaling.targets import AutoscalingTargets

TREND_LAG_S = 30.0
"""Demand is known as a mean over the past; of a trend's last minute this much has passed on average."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Now, and `lead_s` from now if no more replicas are ordered.

    Attributes:
        rate: work a second of one replica at its limit; 0: not known.
        demand: work offered a second by then.
        lead_s: how long a start takes.
        queue_s: how long a request that comes now will wait.
        work_then: work waiting by then.
        queue_then_s: how long a request that comes then will wait.
    """

    rate: float
    demand: float
    lead_s: float
    queue_s: float
    work_then: float = 0.0
    queue_then_s: float = 0.0

    @property
    def load(self) -> float:
        """The demand in replicas that it keeps busy; 0 where the rate is not known."""
        return self.demand / self.rate if self.rate > 0 else 0.0


def look_ahead(
    targets: AutoscalingTargets, seen: Observation, metrics: FleetMetrics, target: int, ordered_ago_s: float
) -> Outlook:
    """Return what is expected.

    Args:
        targets: bounds and aims.
        seen: what has been learned.
        metrics: what is known now.
        target: replicas asked for so far.
        ordered_ago_s: since the last of them were ordered.
    """
    rate = seen.work_per_replica_s(metrics)
    lead_s = seen.cold_start.expected_s(targets.first_cold_start_s)
    demand = seen.demand.work_per_s() + seen.demand.climb_per_s2() * (lead_s + TREND_LAG_S)
    waits_s = queue_s(metrics, rate)
    if rate <= 0:
        return Outlook(0.0, demand, lead_s, waits_s)
    # Until the replicas that are starting are there, those that are ready work; then, all that were asked for.
    alone_s = max(0.0, lead_s - ordered_ago_s) if metrics.starting else lead_s
    work = metrics.waiting_work + metrics.engine_waiting_work
    work_then = max(0.0, work + (demand - rate * metrics.ready) * alone_s)
    work_then = max(0.0, work_then + (demand - rate * target) * (lead_s - alone_s))
    # Admission refuses what would wait longer, so more than this cannot pile up.
    work_then = min(work_then, max(work, targets.longest_wait_s * rate * max(1, metrics.ready)))
    return Outlook(rate, demand, lead_s, waits_s, work_then, work_then / (rate * max(1, target)))
