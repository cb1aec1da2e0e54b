"""Metrics of LoRA adapters: how often each is asked for, and what each replica has loaded."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.dispatch.dispatcher import Dispatcher
from router.http.metrics.pool_label import POOL, RANK, last_labels

LABELS = ("model", "replica", POOL, RANK)


class AdapterMetrics(Collector):
    """Reads the models' adapters at each scrape.

    Args:
        dispatchers: returns each model's dispatcher, by model.
    """

    def __init__(self, dispatchers: Callable[[], Mapping[str, Dispatcher]]) -> None:
        self._dispatchers = dispatchers

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        requests = CounterMetricFamily(
            "rackserve_adapter_requests", "Requests for a LoRA adapter.", labels=["model", "adapter"]
        )
        loaded = GaugeMetricFamily(
            "rackserve_adapters_loaded", "LoRA adapters that the replica has loaded.", labels=LABELS
        )
        slots = GaugeMetricFamily(
            "rackserve_adapter_slots", "LoRA adapters that the replica can have loaded at once.", labels=LABELS
        )
        loads = CounterMetricFamily(
            "rackserve_adapter_loads", "Loads of LoRA adapters since the replica started.", labels=LABELS
        )
        seconds = GaugeMetricFamily(
            "rackserve_adapter_load_seconds",
            "Mean seconds of the replica's last loads of LoRA adapters.",
            labels=LABELS,
        )
        failed = GaugeMetricFamily(
            "rackserve_adapters_failed", "LoRA adapters that the replica was told to serve and cannot.", labels=LABELS
        )
        for model, dispatcher in self._dispatchers().items():
            for adapter, count in sorted(dispatcher.estimator.adapters.requests.items()):
                requests.add_metric([model, adapter], count)
            for replica in dispatcher.fleet.replicas.values():
                report = replica.adapters.report
                if report is not None:
                    row = [model, replica.endpoint.whole_id, *last_labels(replica.endpoint)]
                    loaded.add_metric(row, len(report.held))
                    slots.add_metric(row, report.slots)
                    loads.add_metric(row, report.loads)
                    seconds.add_metric(row, report.load_s)
                    failed.add_metric(row, len(report.problems))
        yield from (requests, loaded, slots, loads, seconds, failed)
