"""Metrics of service level objectives: requests by whether they had their latencies, and the share that should."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.dispatch.dispatcher import Dispatcher


class AttainmentMetrics(Collector):
    """Reads the models' attainment at each scrape.

    Args:
        dispatchers: returns each model's dispatcher, by model.
    """

    def __init__(self, dispatchers: Callable[[], Mapping[str, Dispatcher]]) -> None:
        self._dispatchers = dispatchers

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        requests = CounterMetricFamily(
            "rackserve_slo_requests",
            "Requests that were to have some latency, by whether they had it: met, late (first token), slow (tokens), "
            "failed.",
            labels=["model", "tenant", "result"],
        )
        objective = GaugeMetricFamily(
            "rackserve_slo_objective_ratio",
            "Share of the tenant's requests that is to have its latencies, 0 to 1.",
            labels=["model", "tenant"],
        )
        for model, dispatcher in self._dispatchers().items():
            counts = sorted(dispatcher.attainment.counts.items())
            for (tenant, how), count in counts:
                requests.add_metric([model, tenant, how.value], count)
            for tenant in sorted({tenant for (tenant, _), _ in counts}):
                objective.add_metric([model, tenant], dispatcher.limits.share_of(tenant))
        yield from (requests, objective)
