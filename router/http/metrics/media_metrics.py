"""Metrics of the images, audio and video of prompts, from the last load report of each replica."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.http.metrics.pool_label import POOL, RANK, last_labels
from router.replicas.snapshot import ReplicaSnapshot

LABELS = ("model", "replica", POOL, RANK)


class MediaMetrics(Collector):
    """Reads the replicas' last load reports at each scrape. Every gateway gets the same: take the maximum over them.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[ReplicaSnapshot]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        fetched = CounterMetricFamily(
            "rackserve_media_fetched", "Images, audio and video that the replica fetched by URL.", labels=LABELS
        )
        size = CounterMetricFamily("rackserve_media_fetched_bytes", "Bytes of them.", labels=LABELS)
        refused = CounterMetricFamily(
            "rackserve_media_refused",
            "Images, audio and video that the replica refused, by reason: domain, address, url, redirect, size, "
            "answer, unreachable, time.",
            labels=["model", "replica", "reason", POOL, RANK],
        )
        for replica in self._replicas():
            report, at = replica.report, replica.endpoint
            if report is not None:
                row, pool = [at.model, at.whole_id], last_labels(at)
                fetched.add_metric([*row, *pool], report.media.fetched)
                size.add_metric([*row, *pool], report.media.fetched_bytes)
                for reason, count in sorted(report.media.refused.items()):
                    refused.add_metric([*row, reason, *pool], count)
        yield from (fetched, size, refused)
