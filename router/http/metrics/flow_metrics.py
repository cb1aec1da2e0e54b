"""Flow control's metrics: who waits, and how long."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.flow_control.limits import WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queue_view import QueueView
from router.http.metrics.meters import Meters


class FlowMetrics(Collector):
    """Reads all models' queues when asked.

    Args:
        queues: returns each model's queue.
        room: how much waits, of all models.
        meters: how long those that went to a replica had waited.
    """

    def __init__(self, queues: Callable[[], Mapping[str, QueueView]], room: WaitingRoom, meters: Meters) -> None:
        self._queues = queues
        self._room = room
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        """Yield everything in Prometheus' terms."""
        waiting = GaugeMetricFamily(
            "rackserve_waiting_requests", "Requests waiting in the gateway.", labels=["model", "tenant", "priority"]
        )
        work = GaugeMetricFamily(
            "rackserve_waiting_work_tokens",
            "Estimated work of those: uncached prompt tokens and four times the answer's.",
            labels=["model"],
        )
        expected = GaugeMetricFamily(
            "rackserve_expected_wait_seconds",
            "How long all that waits would take to drain at the rate of late; 0: not known.",
            labels=["model"],
        )
        for name, queue in self._queues().items():
            for tenant, priority, count in queue.tenants:
                waiting.add_metric([name, tenant, priority.name.lower()], count)
            work.add_metric([name], queue.waiting_work)
            expected.add_metric([name], queue.drain_s)
        yield waiting
        yield work
        yield expected
        yield GaugeMetricFamily(
            "rackserve_waiting_body_bytes", "Bytes of the bodies of waiting requests.", value=self._room.size_bytes
        )
        waits = HistogramMetricFamily(
            "rackserve_queue_wait_seconds",
            "From the request's last byte until a replica was picked; 0 where one had room.",
            labels=["model", "priority"],
        )
        for name, meters in self._meters.models.items():
            for urgency, histogram in zip(Priority, meters.wait_s, strict=True):
                row = [name, urgency.name.lower()]
                waits.add_metric(row, buckets=histogram.buckets(), sum_value=histogram.total)
        yield waits
