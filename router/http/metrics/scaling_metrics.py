"""Metrics of autoscaling. Every gateway gets the same figures: take the maximum over gateways."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cluster.autoscaling.scaling_view import ScalingView

_GAUGES: tuple[tuple[str, str, Callable[[ScalingView], float]], ...] = (
    ("rackserve_target_replicas", "Replicas that the autoscaler asks for.", lambda view: view.target),
    ("rackserve_max_replicas", "Most replicas that the autoscaler may ask for.", lambda view: view.maximum),
    ("rackserve_queue_seconds", "Seconds of work waiting, as the autoscaler measures it.", lambda view: view.queue_s),
    ("rackserve_load_replicas", "Replicas that the present load keeps busy.", lambda view: view.load_replicas),
)


class ScalingMetrics(Collector):
    """Reads the autoscaler's last answer at each scrape; models that do not autoscale have no rows.

    Args:
        views: returns the state of autoscaling, by model.
    """

    def __init__(self, views: Callable[[], Mapping[str, ScalingView]]) -> None:
        self._views = views

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        views = self._views()
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for model, view in views.items():
                gauge.add_metric([model], read(view))
            yield gauge
