"""Whether what tenants use reaches the disk."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class UsageMetrics(Collector):
    """How late the records of usage are.

    Args:
        late_s: returns the seconds for which requests have been counted and nothing was written; None: no records are
            kept.
    """

    def __init__(self, late_s: Callable[[], float | None]) -> None:
        self._late_s = late_s

    def collect(self) -> Iterator[Metric]:
        """Yield the family; it has no value where no records are kept."""
        family = GaugeMetricFamily(
            "rackserve_usage_unwritten_seconds",
            "Seconds for which usage has been counted and none was written to disk; about 1 is usual under load.",
        )
        late_s = self._late_s()
        if late_s is not None:
            family.add_metric([], late_s)
        yield family
