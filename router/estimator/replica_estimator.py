"""What one gateway expects of one replica."""

from router.estimator.fading_rates import FadingRates
from router.estimator.learned_rates import LearnedRates, Rates, rates_of
from router.estimator.pending_prefill import PendingPrefill
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.snapshot import ReplicaSnapshot

KV_MEMORY_S = 30.0
"""Seconds after which the KV cache that ended requests freed counts a third."""
KV_AT_LEAST_S = 1.0
"""Seconds that freed KV cache is spread over at least: one ended request is no rate."""


class ReplicaEstimator(ReplicaSnapshot):
    """One replica, as one gateway sees it and expects it to behave.

    Attributes:
        pending: the work that waits there.
        rates: how long it takes to its first token.
        work_s: prefill seconds given to it, fading over the estimator's `WORK_MEMORY_S`.
        kv_freed: tokens of KV cache that ended requests gave back, fading.
        kv_tokens: tokens its KV cache holds; 0: not known.
    """

    __slots__ = ("kv_freed", "kv_tokens", "pending", "rates", "work_s")

    def __init__(self, endpoint: Endpoint, report: LoadReport | None = None, prior: Rates | None = None) -> None:
        super().__init__(endpoint, report)
        self.pending = PendingPrefill()
        self.rates = LearnedRates(prior or rates_of())
        self.work_s = 0.0
        self.kv_tokens = endpoint.kv_tokens
        self.kv_freed = FadingRates(KV_MEMORY_S)

    @property
    def tells_rate(self) -> bool:
        """It reports how fast it prefills: before its first outcomes that says more of it than its peers do."""
        return self.report is not None and self.report.prefill_tokens_per_s > 0.0

    @property
    def running(self) -> int:
        """Sequences being decoded there, as best known."""
        return self.report.running if self.report is not None else self.in_flight

    def kv_wait_s(self, missing_tokens: float, now_s: float) -> float:
        """Return the seconds a prompt waits for KV cache that is missing, by the rate at which ended requests free it.

        Args:
            missing_tokens: tokens that the prompt needs and the cache has no room for, above 0.
            now_s: monotonic seconds.
        """
        report = self.report
        if report is None or not report.kv_capacity_tokens:
            return 0.0
        freed_per_s = self.kv_freed.per_s(now_s, KV_AT_LEAST_S)
        return missing_tokens / (max(freed_per_s, report.decode_tokens_per_s) or self.rates.tokens_per_s)
