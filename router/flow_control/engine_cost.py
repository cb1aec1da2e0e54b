"""What a request costs an engine: the unit in which tenants are given equal shares.

It is the time of the engine that a request takes, in seconds:

    uncached prompt tokens · prefill_s + tokens of the answer after its first · decode_s
        + share of the KV cache that it holds · seconds for which it holds it

A token of the answer takes its share of what a step takes without prompts; the first comes with the prompt. One request
that fills the KV cache keeps all others out for as long, just as a prompt does that is computed for as long; where the
cache has room to spare the term is small by itself.

Prices are what replicas report, as means over the last reports. Each request is priced three times, always at the
prices of that moment: when it comes, when it is dispatched, and when it has ended and is known. So prices that were
wrong, or have moved, are put right by themselves, and nobody goes through what waits.
"""

from typing import Final, final

from router.estimator.learning.fading_mean import FadingMean
from router.flow_control.queued_request import QueuedRequest
from router.replicas.load_report import LoadReport

OUTPUT_WEIGHT: Final = 4.0
"""Prompt tokens that cost as much as one token of the answer. A prompt is computed in parallel, an answer one token per
step. Public price lists of hosted models ask 3 to 5 times as much for a token of the answer."""
_PRIOR_PREFILL_S: Final = 1e-5
"""Seconds assumed of a prompt token before a replica has told; of a token of the answer, `OUTPUT_WEIGHT` times that.

Less than most engines take: what tenants were charged before prices were known then weighs little in what follows.
"""
_PRIOR_HELD_S: Final = 0.02
"""Seconds assumed for each token of an answer before any has ended."""
_LEAST_S: Final = 1e-6
"""Seconds that a request costs at least."""
_KEEP_REPORTS: Final = 0.9
"""Share of earlier reports' weight that a new one leaves: each is itself a mean, over seconds of an engine's work."""
_KEEP_REQUESTS: Final = 0.99
"""Share of earlier requests' weight that a new one leaves."""


@final
class EngineCost:
    """Prices of one model's engines.

    Attributes:
        prefill_s: cost of a prompt token that is computed.
        decode_s: cost of a token of an answer, but for its first.
        kv_share: share of a replica's KV cache that a token takes; each second of it costs as much.
    """

    __slots__ = ("_decode_s", "_held_each_s", "_held_s", "_kv_share", "_prefill_s", "decode_s", "kv_share", "prefill_s")

    def __init__(self) -> None:
        self.prefill_s = _PRIOR_PREFILL_S
        self.decode_s = OUTPUT_WEIGHT * _PRIOR_PREFILL_S
        self.kv_share = 0.0
        self._prefill_s = FadingMean()
        self._decode_s = FadingMean()
        self._kv_share = FadingMean()
        self._held_s = FadingMean(_PRIOR_HELD_S, 1.0)
        self._held_each_s = _PRIOR_HELD_S

    def reported(self, report: LoadReport, s_per_token: float) -> None:
        """Learn from a replica's report.

        Args:
            report: the report.
            s_per_token: seconds that the replica takes for a prompt token; it counts where the report does not say what
                one adds to a step. 0: not known.
        """
        steps = report.steps
        if steps is not None and steps.added_tokens_per_s > 0.0:
            # Answers go on in steps with prompts; what they take of those is theirs.
            s_per_token = 1.0 / steps.added_tokens_per_s
        if s_per_token > 0.0:
            self._prefill_s.observe(s_per_token, 1.0, _KEEP_REPORTS)
            self.prefill_s = self._prefill_s.mean
        answers_per_s = (steps.answer_tokens_per_s or steps.decode_tokens_per_s) if steps is not None else 0.0
        if answers_per_s > 0.0:
            self._decode_s.observe(1.0 / answers_per_s, 1.0, _KEEP_REPORTS)
            self.decode_s = self._decode_s.mean
        elif self._decode_s.weight <= 0.0:
            self.decode_s = OUTPUT_WEIGHT * self.prefill_s
        if report.kv_capacity_tokens > 0:
            self._kv_share.observe(1.0 / report.kv_capacity_tokens, 1.0, _KEEP_REPORTS)
            self.kv_share = self._kv_share.mean

    def of(self, uncached_tokens: float, prompt_tokens: float, output_tokens: float, held_s: float) -> float:
        """Return the cost of a request, in seconds of an engine.

        Args:
            uncached_tokens: prompt tokens that are computed.
            prompt_tokens: tokens of the whole prompt, which is held from the beginning.
            output_tokens: tokens of the answer, which grows evenly.
            held_s: seconds for which it is in the KV cache.
        """
        cost = uncached_tokens * self.prefill_s
        if output_tokens > 1.0:
            cost += (output_tokens - 1.0) * self.decode_s
        cost += self.kv_share * (prompt_tokens + 0.5 * output_tokens) * held_s
        return cost if cost > _LEAST_S else _LEAST_S  # noqa: FURB136 - runs for each request: no call

    def expected(self, request: QueuedRequest) -> float:
        """Return what a request is expected to cost, in seconds of an engine, at today's prices."""
        output_tokens = request.output_tokens
        held_s = self._held_each_s * output_tokens if output_tokens > 1.0 else self._held_each_s
        return self.of(request.uncached_tokens, request.prompt_tokens, output_tokens, held_s)

    def held_s(self, uncached_tokens: float, sent_s: float, first_token_s: float | None, now_s: float) -> float:
        """Return the seconds for which a request that ends now was in the KV cache.

        They begin with the computation of its prompt, about: before that it may have waited in the engine's queue.

        Args:
            uncached_tokens: prompt tokens that were computed.
            sent_s: when it was dispatched, monotonic seconds.
            first_token_s: when its first token came; None: not known, so it counts from its dispatch.
            now_s: now.
        """
        began_s = sent_s
        if first_token_s is not None:
            computed_s = first_token_s - uncached_tokens * self.prefill_s
            if computed_s > sent_s:
                began_s = computed_s
        return now_s - began_s if now_s > began_s else 0.0

    def ended(self, output_tokens: float, held_s: float) -> None:
        """Learn from a request that ended for how long answers are held."""
        self._held_s.observe(held_s, output_tokens if output_tokens > 1.0 else 1.0, _KEEP_REQUESTS)  # noqa: FURB136 - as above
        self._held_each_s = self._held_s.mean
