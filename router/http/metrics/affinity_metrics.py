"""Metrics of how well routing finds cached prefixes: one row for each model whose policy reads prompts."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.estimator.model_estimator import ModelEstimator
from router.prefix_cache.residency import Mode
from router.prefix_cache.routing_efficiency import RoutingEfficiency

_GAUGES: tuple[tuple[str, str, Callable[[RoutingEfficiency], float]], ...] = (
    (
        "rackserve_prefix_hit_ratio",
        "Share of prompt tokens that replicas had cached, over about the last thousand requests.",
        lambda efficiency: efficiency.hit_ratio,
    ),
    (
        "rackserve_prefix_hit_ratio_ideal",
        "Share of prompts that one infinite cache shared by all replicas would have had, over the same requests.",
        lambda efficiency: efficiency.ideal_hit_ratio,
    ),
    (
        "rackserve_prefix_hits_achieved",
        "The hit ratio divided by the ideal one: at 1 routing loses no cache hits.",
        lambda efficiency: efficiency.achieved,
    ),
    (
        "rackserve_prefill_imbalance",
        "Uncached prompt tokens of the replica that got most, divided by the mean over replicas: 1 is even.",
        lambda efficiency: efficiency.imbalance,
    ),
)


class AffinityMetrics(Collector):
    """Reads the models' estimators at each scrape.

    Args:
        estimators: returns the current estimators, by model.
    """

    def __init__(self, estimators: Callable[[], Mapping[str, ModelEstimator]]) -> None:
        self._estimators = estimators

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        estimators = self._estimators()
        prompt = CounterMetricFamily("rackserve_prompt_tokens", "Prompt tokens of answered requests.", labels=["model"])
        cached = CounterMetricFamily(
            "rackserve_cached_tokens", "Prompt tokens of answered requests that replicas had cached.", labels=["model"]
        )
        modes = GaugeMetricFamily(
            "rackserve_residency_replicas",
            "Replicas by how their prefix cache is known: exact (the engine reports it), observed (inferred), none.",
            labels=["model", "mode"],
        )
        for model, estimator in estimators.items():
            prompt.add_metric([model], estimator.efficiency.prompt_tokens)
            cached.add_metric([model], estimator.efficiency.cached_tokens)
            for mode, count in residency_modes(estimator).items():
                modes.add_metric([model, mode], count)
        yield prompt
        yield cached
        yield modes
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for model, estimator in estimators.items():
                gauge.add_metric([model], read(estimator.efficiency))
            yield gauge


def residency_modes(estimator: ModelEstimator) -> dict[str, int]:
    """Return the number of replicas in each mode of knowing their cache."""
    modes = list(estimator.residency.modes().values())
    return {mode: modes.count(mode) for mode in (Mode.EXACT, Mode.OBSERVED, Mode.NONE)}
