"""The estimator of one replica: what one gateway expects of it."""

from typing import Final

from router.estimator.adapter_slots import AdapterSlots, AdapterUse
from router.estimator.learned_rates import LearnedRates, Rates, rates_of
from router.estimator.learning.fading_rates import FadingRates
from router.estimator.pending_prefill import PendingPrefill
from router.estimator.streams.slack import StreamSlack
from router.estimator.streams.speed import StreamSpeed
from router.replicas.endpoint import Endpoint
from router.replicas.engine_load import EngineLoad
from router.replicas.load_report import LoadReport
from router.replicas.snapshot import ReplicaSnapshot

KV_MEMORY_S: Final = 30.0
"""Seconds after which KV cache that was freed counts 1/e, about a third, in the rate at which it is freed."""
KV_AT_LEAST_S: Final = 1.0
"""Shortest time in seconds over which that rate is taken, so that one ended request makes no high rate."""


class ReplicaEstimator(ReplicaSnapshot):
    """One replica as one gateway sees it, with what it expects of it.

    Attributes:
        pending: the prompt tokens that wait there, of all models on its engine.
        rates: its learned rates, from which the time to first token follows.
        work_s: seconds of prefill given to it, fading over the `WORK_MEMORY_S` of `work_rate.py`.
        kv_freed: tokens of KV cache freed by requests that ended, fading over `KV_MEMORY_S`.
        kv_tokens: capacity of its KV cache in tokens; 0: not known.
        prefilled_tokens: prompt tokens that it has computed for this gateway's requests.
        streams: what its streams cost each other; one for all replicas of its pool, which are alike. Learned where
            prompts can be computed elsewhere.
        slack: what its streams can spare.
        coming: requests that it will answer once another replica has computed their prompts.
        adapters: the adapters that it has loaded.
        fetch_s_per_token: seconds that it takes to fetch a token from the tiers below its device, as last reported; 0:
            it has no such tier.
    """

    __slots__ = (
        "adapters",
        "coming",
        "fetch_s_per_token",
        "kv_freed",
        "kv_tokens",
        "pending",
        "prefilled_tokens",
        "rates",
        "slack",
        "streams",
        "work_s",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        report: LoadReport | None = None,
        prior: Rates | None = None,
        *,
        engine: EngineLoad | None = None,
        pending: PendingPrefill | None = None,
    ) -> None:
        super().__init__(endpoint, report, engine)
        self.pending = pending or PendingPrefill()
        self.rates = LearnedRates(prior or rates_of())
        self.work_s = 0.0
        self.kv_tokens = endpoint.kv_tokens
        self.kv_freed = FadingRates(KV_MEMORY_S)
        self.prefilled_tokens = 0.0
        self.streams = StreamSpeed()
        self.slack = StreamSlack()
        self.coming = 0
        self.adapters = AdapterSlots(AdapterUse())
        self.fetch_s_per_token = 0.0

    @property
    def tells_rate(self) -> bool:
        """Whether it reports its prefill rate. Until it has outcomes, that is better than the mean of its peers."""
        return self.report is not None and self.report.prefill_tokens_per_s > 0.0

    @property
    def running(self) -> int:
        """Sequences that run there: the reported ones; without a report, this gateway's own requests."""
        return self.report.running if self.report is not None else self.engine.in_flight

    @property
    def streams_now(self) -> int:
        """Streams that run there, and those of requests that no report contains yet."""
        if self.report is None:
            return self.engine.in_flight
        return self.report.running + len(self.pending.unreported)

    @property
    def streams_soon(self) -> int:
        """Streams that run there once the prompts are computed that it is to fetch."""
        return self.streams_now + self.coming

    def stop_streams(self, tokens: float, now_s: float) -> None:
        """Count prompt tokens that it computes between its streams' tokens; below 0: it does not, after all."""
        stopped_s = self.streams.stopped_s(tokens, self.rates.now.s_per_token)
        self.slack.spend(stopped_s, self.streams_now, self.streams, now_s)

    def kv_wait_s(self, missing_tokens: float, now_s: float) -> float:
        """Return the seconds that a prompt waits for KV cache: missing tokens over the rate at which they are freed.

        The rate is what ended requests free per second, but at least the reported decode rate; if both are 0, it is the
        prefill rate.

        Args:
            missing_tokens: tokens of the prompt that the cache has no room for, above 0.
            now_s: the time, monotonic seconds.

        Returns:
            Seconds above 0; 0 where the capacity is not known.
        """
        report = self.report
        if report is None or not report.kv_capacity_tokens:
            return 0.0
        freed_per_s = self.kv_freed.per_s(now_s, KV_AT_LEAST_S)
        return missing_tokens / (max(freed_per_s, report.decode_tokens_per_s) or self.rates.tokens_per_s)
