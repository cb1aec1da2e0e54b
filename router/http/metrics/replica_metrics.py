"""What this gateway has on each replica, as metrics: one row a replica."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.dispatch.replica import Replica

LABELS = ("model", "replica")


class ReplicaMetrics(Collector):
    """Reads the replicas when asked.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[Replica]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        in_flight = GaugeMetricFamily(
            "rackserve_replica_in_flight", "Requests this gateway has on the replica now.", labels=LABELS
        )
        accepting = GaugeMetricFamily(
            "rackserve_replica_accepting", "1: the replica may be picked; 0: it failed lately.", labels=LABELS
        )
        limits = GaugeMetricFamily(
            "rackserve_replica_limit", "Requests the replica is given at once, as learned.", labels=LABELS
        )
        for replica in self._replicas():
            row = [replica.endpoint.model, replica.replica_id]
            in_flight.add_metric(row, replica.in_flight)
            accepting.add_metric(row, float(replica.accepting))
            limits.add_metric(row, int(replica.slots.depth.limit))
        yield in_flight
        yield accepting
        yield limits
