"""How much replicas do of what was promised of them: a row for each replica and each promise that can be judged.

Every gateway gets the same reports: take the maximum over gateways first.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.http.metrics.pool_label import POOL, RANK, last_labels
from router.replicas.plan_promise import kept
from router.replicas.snapshot import ReplicaSnapshot

LABELS = ("model", "replica", "domain", "what", POOL, RANK)


class PlanMetrics(Collector):
    """Compares replicas' last load reports with what was promised at each scrape.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[ReplicaSnapshot]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield the metric family."""
        accuracy = GaugeMetricFamily(
            "rackserve_plan_accuracy_ratio",
            "What a replica does as a share of what was promised of it; no row: nothing was, or it is not known.",
            labels=LABELS,
        )
        for replica in self._replicas():
            at = replica.endpoint
            if at.promise is not None:
                for what, share in kept(at.promise, replica.report, at.start).items():
                    accuracy.add_metric([at.model, at.whole_id, at.domain, what, *last_labels(at)], share)
        yield accuracy
