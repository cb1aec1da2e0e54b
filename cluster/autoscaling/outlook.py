"""Predicts demand and queue for the moment at which a replica ordered now would be ready."""

from dataclasses import dataclass

from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.observation import Observation, queue_s
from cluster.autoscaling.targets import AutoscalingTargets

OVERDUE = 0.1
"""Share of a usual start that a replica which should be ready already is assumed to need still."""

Orders = tuple[tuple[float, int], ...]
"""Pairs of the time of an order and the number of replicas ordered, oldest first."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The state now, and the one expected in `lead_s` seconds if no more replicas are ordered.

    Attributes:
        rate: work a second of one replica at its limit; 0: not known.
        demand: work offered a second at that time.
        lead_s: seconds that a replica's start takes.
        queue_s: seconds that a request arriving now will wait.
        work_then: work waiting at that time.
        queue_then_s: seconds that a request arriving then will wait.
    """

    rate: float
    demand: float
    lead_s: float
    queue_s: float
    work_then: float = 0.0
    queue_then_s: float = 0.0

    @property
    def load(self) -> float:
        """Replicas that the demand keeps busy; 0 where the rate is not known."""
        return self.demand / self.rate if self.rate > 0 else 0.0


def look_ahead(  # noqa: PLR0913 - all there is to know
    targets: AutoscalingTargets, seen: Observation, metrics: FleetMetrics, *, target: int, orders: Orders, now_s: float
) -> Outlook:
    """Return the state now and the one expected when a replica ordered now would be ready.

    Args:
        targets: the operator's bounds and aims.
        seen: what has been learned from earlier metrics.
        metrics: the latest metrics.
        target: replicas asked for so far.
        orders: the latest orders of replicas.
        now_s: the time, monotonic seconds.
    """
    rate = seen.work_per_replica_s(metrics)
    lead_s = seen.cold_start.expected_s(targets.first_cold_start_s)
    mean, over_s = seen.demand.work_per_s()
    # While demand climbs, its mean over `over_s` is the demand in the middle of that time: `over_s` / 2 ago.
    demand = mean + seen.demand.climb_per_s2() * (lead_s + 0.5 * over_s)
    waits_s = queue_s(metrics, rate)
    if rate <= 0:
        return Outlook(0.0, demand, lead_s, waits_s)
    work = metrics.waiting_work + metrics.engine_waiting_work
    work_then, replicas, at_s = work, metrics.ready, 0.0
    for ready_in_s, count in (*_arrivals(orders, metrics.starting, lead_s, now_s), (lead_s, 0)):
        work_then = max(0.0, work_then + (demand - rate * replicas) * (ready_in_s - at_s))
        replicas, at_s = replicas + count, ready_in_s
    # Flow control refuses requests that would wait longer, so no more than this can pile up.
    work_then = min(work_then, max(work, targets.longest_wait_s * rate * max(1, metrics.ready)))
    return Outlook(rate, demand, lead_s, waits_s, work_then, work_then / (rate * max(1, target)))


def _arrivals(orders: Orders, starting: int, lead_s: float, now_s: float) -> list[tuple[float, int]]:
    """Return when the starting replicas will be ready, as pairs of seconds from now and replicas, soonest first.

    The starting replicas are those ordered last. One that is overdue is expected soon (`OVERDUE`). Replicas beyond all
    known orders are left out: they count as ready a whole start from now.
    """
    arrivals: list[tuple[float, int]] = []
    for at_s, count in reversed(orders):
        known = min(count, starting)
        if known:
            arrivals.append((min(lead_s, max(OVERDUE * lead_s, at_s + lead_s - now_s)), known))
            starting -= known
    return sorted(arrivals)
