"""Metrics of this gateway's own requests on each replica, and of what it serves: one row for each replica."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.dispatch.replica import Replica
from router.http.metrics.pool_label import POOL, RANK, last_labels

LABELS = ("model", "replica", POOL, RANK)


class ReplicaMetrics(Collector):
    """Reads the replicas at each scrape.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[Replica]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        in_flight = GaugeMetricFamily(
            "rackserve_replica_in_flight", "Requests of this gateway that are on the replica.", labels=LABELS
        )
        accepting = GaugeMetricFamily(
            "rackserve_replica_accepting",
            "1: the replica may be picked; 0: it failed a request and is left out for a while.",
            labels=LABELS,
        )
        limits = GaugeMetricFamily(
            "rackserve_replica_limit", "Most requests that may be on the replica at once, as learned.", labels=LABELS
        )
        weights = GaugeMetricFamily(
            "rackserve_replica_weights_bytes",
            "Bytes of the model's weights, each counted once, as their number format gives them; 0: not known.",
            labels=("model", "replica", "task", "format", *LABELS[2:]),
        )
        for replica in self._replicas():
            at = replica.endpoint
            row = [at.model, at.whole_id, *last_labels(at)]
            if at.serves is not None:
                serves = at.serves
                weights.add_metric([*row[:2], serves.task, serves.weight_format, *row[2:]], serves.weight_bytes)
            in_flight.add_metric(row, replica.in_flight)
            accepting.add_metric(row, float(replica.accepting))
            limits.add_metric(row, int(replica.slots.limit))
        yield in_flight
        yield accepting
        yield limits
        yield weights
