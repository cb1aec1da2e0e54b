"""Metrics of speculative decoding, from the last load report of each replica that drafts: one row for each replica.

Every gateway gets the same reports: take the maximum over gateways first.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from router.http.metrics.pool_label import POOL, RANK, last_labels
from router.replicas.snapshot import ReplicaSnapshot

LABELS = ("model", "replica", "domain", POOL, RANK)
OF_POSITIONS = ("model", "replica", "domain", "position", POOL, RANK)


class SpeculationMetrics(Collector):
    """Reads the replicas' last load reports at each scrape; replicas that draft nothing have no rows.

    Args:
        replicas: returns the replicas of all models.
    """

    def __init__(self, replicas: Callable[[], Sequence[ReplicaSnapshot]]) -> None:
        self._replicas = replicas

    def collect(self) -> Iterator[Metric]:
        """Yield all metric families."""
        drafts = CounterMetricFamily(
            "rackserve_speculation_drafts_total",
            "Drafts verified, one for each sequence and step that had one.",
            labels=LABELS,
        )
        drafted = CounterMetricFamily(
            "rackserve_speculation_draft_tokens_total", "Tokens of the drafts verified.", labels=LABELS
        )
        accepted = CounterMetricFamily(
            "rackserve_speculation_accepted_tokens_total",
            "Drafted tokens that were right, by their place in the draft; 0 is the first.",
            labels=OF_POSITIONS,
        )
        per_step = GaugeMetricFamily(
            "rackserve_speculation_tokens_per_step",
            "Tokens that a sequence gets from a step, over about the last thousand steps; no row: not known yet.",
            labels=LABELS,
        )
        speedup = GaugeMetricFamily(
            "rackserve_speculation_speedup",
            "Tokens a second over those without drafts, over about the last thousand steps; no row: not known.",
            labels=LABELS,
        )
        for replica in self._replicas():
            at, report = replica.endpoint, replica.report
            told = report.speculation if report is not None else None
            if told is None:
                continue
            place, pool = [at.model, at.whole_id, at.domain], last_labels(at)
            drafts.add_metric([*place, *pool], told.drafts)
            drafted.add_metric([*place, *pool], told.draft_tokens)
            for position, count in enumerate(told.accepted_by_position):
                accepted.add_metric([*place, str(position), *pool], count)
            if told.tokens_per_step:
                per_step.add_metric([*place, *pool], told.tokens_per_step)
            if told.speedup:
                speedup.add_metric([*place, *pool], told.speedup)
        yield drafts
        yield drafted
        yield accepted
        yield per_step
        yield speedup
