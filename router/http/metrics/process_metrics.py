"""Metrics of one gateway process as a whole: whether its event loop keeps up, and what bodies take of its memory."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class ProcessMetrics(Collector):
    """Reads the process' figures at each scrape.

    Args:
        longest_block_s: returns the seconds of the event loop's longest stop.
        incoming_bytes: returns the bytes of the bodies that are coming in.
    """

    def __init__(self, longest_block_s: Callable[[], float], incoming_bytes: Callable[[], int]) -> None:
        self._longest_block_s = longest_block_s
        self._incoming_bytes = incoming_bytes

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        yield GaugeMetricFamily(
            "rackserve_loop_block_seconds",
            "Longest time that the event loop stood still, over the last 30 to 60 s.",
            value=self._longest_block_s(),
        )
        yield GaugeMetricFamily(
            "rackserve_incoming_body_bytes",
            "Bytes of request bodies that are coming in or being decompressed; gateway.max_incoming_bytes bounds them.",
            value=self._incoming_bytes(),
        )
