"""Metrics of the engines, from the last load report of each replica: one row for each replica.

Every gateway gets the same reports. With several gateways, take the maximum over them first:
`sum by (model) (max by (model, replica) (rackserve_engine_running_requests))`.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.http.metrics.pool_label import POOL, RANK, last_labels
from router.replicas.load_report import LoadReport
from router.replicas.snapshot import ReplicaSnapshot

LABELS = ("model", "replica", "domain", POOL, RANK)

_GAUGES: tuple[tuple[str, str, Callable[[LoadReport], float]], ...] = (
    ("rackserve_engine_running_requests", "Requests in the engine's batch.", lambda report: report.running),
    ("rackserve_engine_waiting_requests", "Requests in the engine's queue.", lambda report: report.waiting),
    (
        "rackserve_engine_waiting_tokens",
        "Prompt tokens not yet prefilled, of waiting and running requests.",
        lambda report: report.waiting_tokens,
    ),
    ("rackserve_engine_kv_usage_ratio", "Share of the KV cache in use, 0 to 1.", lambda report: report.kv_usage),
    (
        "rackserve_engine_kv_capacity_tokens",
        "Tokens the KV cache holds.",
        lambda report: report.kv_capacity_tokens,
    ),
    (
        "rackserve_engine_prefill_tokens_per_second",
        "Prompt tokens computed a second, over the last busy seconds; 0: none computed yet.",
        lambda report: report.prefill_tokens_per_s,
    ),
    (
        "rackserve_engine_decode_tokens_per_second",
        "Tokens generated a second, over the last busy seconds; 0: none generated yet.",
        lambda report: report.decode_tokens_per_s,
    ),
)


class EngineMetrics(Collector):
    """Reads the replicas' last load reports at each scrape.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[ReplicaSnapshot]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        reporting = GaugeMetricFamily(
            "rackserve_engine_reporting",
            "1: the replica sends load reports; 0: none arrive, and its load is unknown.",
            labels=LABELS,
        )
        rows = [
            ([at.model, at.whole_id, at.domain, *last_labels(at)], replica.report)
            for replica in self._replicas()
            for at in (replica.endpoint,)
        ]
        for row, report in rows:
            reporting.add_metric(row, float(report is not None))
        yield reporting
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=LABELS)
            for row, report in rows:
                if report is not None:
                    gauge.add_metric(row, read(report))
            yield gauge
