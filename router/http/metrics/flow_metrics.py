"""Flow control's metrics and its part of `/state`: who waits, how long, and how much replicas are given."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.flow_control.priority import Priority
from router.http.flow_control import FlowControl
from router.http.metrics.meters import Meters
from router.http.model_flow import ModelFlow


class FlowMetrics(Collector):
    """Tells of all models' queues.

    Args:
        flow: who waits.
        meters: how long those that went to a replica had waited.
    """

    def __init__(self, flow: FlowControl, meters: Meters) -> None:
        self._flow = flow
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
        limits = GaugeMetricFamily(
            "rackserve_replica_limit", "Requests the replica is given at once, as learned.", labels=["model", "replica"]
        )
        for name, flow in self._flow.models.items():
            for tenant, priority, count in waiting_rows(flow):
                waiting.add_metric([name, tenant, priority], count)
            load = flow.admission.load(flow.now_s())
            work.add_metric([name], load.waiting_work)
            expected.add_metric([name], load.drain_s)
            for replica_id, slots in flow.admission.slots.replicas.items():
                limits.add_metric([name, replica_id], int(slots.depth.limit))
        yield waiting
        yield work
        yield expected
        yield GaugeMetricFamily(
            "rackserve_waiting_body_bytes", "Bytes of the bodies of waiting requests.", value=self._flow.room.size_bytes
        )
        yield limits
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


def waiting_rows(flow: ModelFlow) -> Iterator[tuple[str, str, int]]:
    """Yield tenant, class and number of waiting requests, of the tenants that have been heard of lately."""
    for priority, tenant, waiting in flow.admission.waiting_by_tenant():
        yield tenant, priority.name.lower(), waiting


def queue_state(flow: ModelFlow) -> dict[str, Any]:
    """Return one model's queue as plain JSON values."""
    load = flow.admission.load(flow.now_s())
    return {
        "waiting": load.waiting_requests,
        "held": load.held_requests,
        "waiting_work": round(load.waiting_work),
        "drain_s": round(load.drain_s, 3),
        "in_flight": load.in_flight,
        "refused": load.refused_requests,
        "tenants": [
            {"tenant": tenant, "priority": priority, "waiting": count}
            for tenant, priority, count in waiting_rows(flow)
            if count
        ],
    }
