"""What one gateway expects of one replica."""

from router.estimator.decayed_sums import DecayedSums
from router.estimator.learned_rates import LearnedRates, Rates
from router.estimator.pending_prefill import PendingPrefill
from router.replicas.snapshot import LoadReport, ReplicaSnapshot

KV_TAU_S = 30.0


class ReplicaEstimator:
    """One replica, as one gateway expects it to behave.

    Attributes:
        pending: the work that waits there.
        rates: how long it takes to its first token.
        report: its last load report; None before the first, or since it fell silent.
        work_s: prefill seconds given to it lately, fading over `WORK_TAU_S`.
        kv_freed: tokens of KV cache that ended requests gave back, fading.
    """

    __slots__ = ("kv_freed", "kv_tokens", "pending", "rates", "report", "work_s")

    def __init__(self, prior: Rates) -> None:
        self.pending = PendingPrefill()
        self.rates = LearnedRates(prior)
        self.report: LoadReport | None = None
        self.work_s = 0.0
        self.kv_tokens = 0
        self.kv_freed = DecayedSums(KV_TAU_S, 1)

    @property
    def tells_rate(self) -> bool:
        """It reports how fast it prefills: before its first outcomes that says more of it than its peers do."""
        return self.report is not None and self.report.prefill_tokens_per_s > 0.0

    def running(self, replica: ReplicaSnapshot) -> int:
        """Return the sequences being decoded there, as best known."""
        return self.report.running if self.report is not None else replica.in_flight
