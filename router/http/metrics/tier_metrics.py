"""Metrics of KV blocks in tiers, from the last load report of each replica that keeps some below its device.

Every gateway gets the same reports: take the maximum over gateways first.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.http.metrics.pool_label import POOL, RANK, last_labels
from router.replicas.snapshot import ReplicaSnapshot

LABELS = ("model", "replica", "domain", POOL, RANK)
OF_TIERS = ("model", "replica", "domain", "tier", POOL, RANK)


class TierMetrics(Collector):
    """Reads the replicas' last load reports at each scrape; replicas without such tiers have no rows.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[ReplicaSnapshot]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        held = GaugeMetricFamily(
            "rackserve_replica_kv_held_tokens",
            "Tokens of the KV blocks in a tier: device, host or disk; a block may be in several.",
            labels=OF_TIERS,
        )
        fetched = CounterMetricFamily(
            "rackserve_replica_kv_fetched_tokens_total",
            "Prompt tokens fetched from below the device in place of being computed.",
            labels=LABELS,
        )
        seconds = GaugeMetricFamily(
            "rackserve_replica_kv_fetch_seconds_per_token",
            "Seconds that fetching a token takes, over the last fetches.",
            labels=LABELS,
        )
        for replica in self._replicas():
            at, report = replica.endpoint, replica.report
            told = report.tiers if report is not None else None
            if told is None:
                continue
            place, pool = [at.model, at.whole_id, at.domain], last_labels(at)
            tiers = {"device": told.device_tokens, "host": told.host_tokens, "disk": told.disk_tokens}
            for tier, tokens in tiers.items():
                held.add_metric([*place, tier, *pool], tokens)
            fetched.add_metric([*place, *pool], told.fetched_tokens)
            seconds.add_metric([*place, *pool], told.fetch_s_per_token)
        yield held
        yield fetched
        yield seconds
