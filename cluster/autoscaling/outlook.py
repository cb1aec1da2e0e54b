"""What is expected of the time at which a replica ordered now would be ready."""

from dataclasses import dataclass

from cluster.autoscaling.metrics import FleetMetrics
from cluster.autoscaling.observation import Observation, queue_s
from cluster.autoscaling.targets import AutoscalingTargets

OVERDUE = 0.1
"""A replica that should be ready already is thought to take this share of a start yet."""

Orders = tuple[tuple[float, int], ...]
"""`(at_s, replicas)`: when how many were ordered, oldest first."""


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


def look_ahead(  # noqa: PLR0913 - all there is to know
    targets: AutoscalingTargets, seen: Observation, metrics: FleetMetrics, *, target: int, orders: Orders, now_s: float
) -> Outlook:
    """Return what is expected.

    Args:
        targets: bounds and aims.
        seen: what has been learned.
        metrics: what is known now.
        target: replicas asked for so far.
        orders: when the last of them were ordered.
        now_s: the time.
    """
    rate = seen.work_per_replica_s(metrics)
    lead_s = seen.cold_start.expected_s(targets.first_cold_start_s)
    mean, over_s = seen.demand.work_per_s()
    # The mean of a climb is what it was in the middle of the time it is taken over.
    demand = mean + seen.demand.climb_per_s2() * (lead_s + 0.5 * over_s)
    waits_s = queue_s(metrics, rate)
    if rate <= 0:
        return Outlook(0.0, demand, lead_s, waits_s)
    work = metrics.waiting_work + metrics.engine_waiting_work
    work_then, replicas, at_s = work, metrics.ready, 0.0
    for ready_in_s, count in (*_arrivals(orders, metrics.starting, lead_s, now_s), (lead_s, 0)):
        work_then = max(0.0, work_then + (demand - rate * replicas) * (ready_in_s - at_s))
        replicas, at_s = replicas + count, ready_in_s
    # Admission refuses what would wait longer, so more than this cannot pile up.
    work_then = min(work_then, max(work, targets.longest_wait_s * rate * max(1, metrics.ready)))
    return Outlook(rate, demand, lead_s, waits_s, work_then, work_then / (rate * max(1, target)))


def _arrivals(orders: Orders, starting: int, lead_s: float, now_s: float) -> list[tuple[float, int]]:
    """Return in how many seconds how many of the starting replicas will be ready, soonest first.

    Those that are starting are those ordered last. One that is overdue is taken to be ready soon; one that nobody knows
    of, a whole start from now.
    """
    arrivals: list[tuple[float, int]] = []
    for at_s, count in reversed(orders):
        known = min(count, starting)
        if known:
            arrivals.append((min(lead_s, max(OVERDUE * lead_s, at_s + lead_s - now_s)), known))
            starting -= known
    return sorted(arrivals)
