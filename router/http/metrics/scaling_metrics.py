"""Metrics of autoscaling. Every gateway gets the same figures: take the maximum over gateways."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cluster.autoscaling.scaling_view import ScalingView
from router.http.metrics.pool_label import POOL, pool_label

_GAUGES: tuple[tuple[str, str, Callable[[ScalingView], float]], ...] = (
    ("rackserve_target_replicas", "Replicas that the autoscaler asks for.", lambda view: view.target),
    ("rackserve_max_replicas", "Most replicas that the autoscaler may ask for.", lambda view: view.maximum),
    ("rackserve_queue_seconds", "Seconds of work waiting, as the autoscaler measures it.", lambda view: view.queue_s),
    ("rackserve_load_replicas", "Replicas that the present load keeps busy.", lambda view: view.load_replicas),
)


class ScalingMetrics(Collector):
    """Reads the autoscaler's last answer at each scrape; pools of models without any that autoscales have no rows.

    Args:
        views: returns the state of autoscaling of each model's pools, by model.
    """

    def __init__(self, views: Callable[[], Mapping[str, Sequence[ScalingView]]]) -> None:
        self._views = views

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        views = self._views()
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=("model", POOL))
            for model, pools in views.items():
                for view in pools:
                    gauge.add_metric([model, *pool_label(view.pool)], read(view))
            yield gauge
