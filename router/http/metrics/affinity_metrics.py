"""How well routing finds caches, as metrics: one family a figure, one row a model whose policy reads prompts."""

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
        "The share one infinite cache shared by all replicas would have had, over the same requests.",
        lambda efficiency: efficiency.ideal_hit_ratio,
    ),
    (
        "rackserve_prefix_hits_achieved",
        "Hit ratio over the ideal one: 1 is no regret.",
        lambda efficiency: efficiency.achieved,
    ),
    (
        "rackserve_prefill_imbalance",
        "The most uncached prompt tokens any replica got over the mean: 1 is even.",
        lambda efficiency: efficiency.imbalance,
    ),
)


class AffinityMetrics(Collector):
    """Reads the estimators when asked.

    Args:
        estimators: returns the estimators of now, by model.
    """

    def __init__(self, estimators: Callable[[], Mapping[str, ModelEstimator]]) -> None:
        self._estimators = estimators

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        estimators = self._estimators()
        prompt = CounterMetricFamily("rackserve_prompt_tokens", "Prompt tokens of answered requests.", labels=["model"])
        cached = CounterMetricFamily("rackserve_cached_tokens", "Of those, what replicas had cached.", labels=["model"])
        modes = GaugeMetricFamily(
            "rackserve_residency_replicas",
            "Replicas whose cache is told by the engine (exact), inferred (observed) or not there (none).",
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
    """Return how many replicas' caches are known in each mode."""
    modes = list(estimator.residency.modes().values())
    return {mode: modes.count(mode) for mode in (Mode.EXACT, Mode.OBSERVED, Mode.NONE)}
