"""What a request costs an engine: the unit in which tenants are given equal shares.

It is the time of the engine that a request takes, in prompt tokens that could be computed meanwhile:

    uncached prompt tokens + output_weight · tokens of the answer + kv_weight · tokens of KV cache · seconds held

A token of the answer takes its share of what a step takes without prompts. KV cache is charged as the share of it that
is held: one request that fills it keeps all others out for as long, just as a prompt does that is computed for as long.
Where the cache has room to spare the term is small by itself.

Prices are what replicas report, as means over all of them. Without reports they are `OUTPUT_WEIGHT` and 0.
"""

from typing import Final, final

from router.estimator.fading_mean import FadingMean
from router.replicas.load_report import LoadReport

OUTPUT_WEIGHT: Final = 4.0
"""Prompt tokens that cost as much as one token of the answer. A prompt is computed in parallel, an answer one token per
step. Public price lists of hosted models ask 3 to 5 times as much for a token of the answer."""
_PRIOR_HELD_S: Final = 0.02
"""Seconds assumed for each token of an answer before any has ended."""
_KEEP: Final = 0.99
"""Share of earlier reports' weight, and of earlier requests', that a new one leaves."""


@final
class EngineCost:
    """Prices of one model's engines.

    Attributes:
        output_weight: cost of a token of an answer, in prompt tokens.
        kv_weight: cost of a token that is kept in the KV cache for a second, in prompt tokens.
    """

    __slots__ = ("_decode_s", "_held_s", "_kv_share", "_prefill_s", "kv_weight", "output_weight")

    def __init__(self) -> None:
        self.output_weight = OUTPUT_WEIGHT
        self.kv_weight = 0.0
        self._prefill_s = FadingMean()
        self._decode_s = FadingMean()
        self._kv_share = FadingMean()
        self._held_s = FadingMean(_PRIOR_HELD_S, 1.0)

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
            self._prefill_s.observe(1.0 / steps.added_tokens_per_s, 1.0, _KEEP)
        elif s_per_token > 0.0:
            self._prefill_s.observe(s_per_token, 1.0, _KEEP)
        answers_per_s = (steps.answer_tokens_per_s or steps.decode_tokens_per_s) if steps is not None else 0.0
        if answers_per_s > 0.0:
            self._decode_s.observe(1.0 / answers_per_s, 1.0, _KEEP)
        if report.kv_capacity_tokens > 0:
            self._kv_share.observe(1.0 / report.kv_capacity_tokens, 1.0, _KEEP)
        prefill_s = self._prefill_s.mean
        if prefill_s > 0.0:
            self.kv_weight = self._kv_share.mean / prefill_s
            if self._decode_s.weight > 0.0:
                self.output_weight = self._decode_s.mean / prefill_s

    def of(self, uncached_tokens: float, prompt_tokens: float, output_tokens: float, held_s: float) -> float:
        """Return the cost of a request in prompt tokens, at least 1.

        Args:
            uncached_tokens: prompt tokens that are computed.
            prompt_tokens: tokens of the whole prompt, which is held from the beginning.
            output_tokens: tokens of the answer, which grows evenly.
            held_s: seconds for which it is in the KV cache.
        """
        held = self.kv_weight * (prompt_tokens + 0.5 * output_tokens) * held_s
        return max(1.0, uncached_tokens + self.output_weight * output_tokens + held)

    def held_s(self, uncached_tokens: float, sent_s: float, first_token_s: float | None, now_s: float) -> float:
        """Return the seconds for which a request that ends now was in the KV cache.

        They begin with the computation of its prompt, about: before that it may have waited in the engine's queue.

        Args:
            uncached_tokens: prompt tokens that were computed.
            sent_s: when it was dispatched, monotonic seconds.
            first_token_s: when its first token came; None: not known, so it counts from its dispatch.
            now_s: now.
        """
        if first_token_s is None:
            return max(0.0, now_s - sent_s)
        return max(0.0, now_s - max(sent_s, first_token_s - uncached_tokens * self._prefill_s.mean))

    def expected_s(self, output_tokens: float) -> float:
        """Return the seconds that a request with such an answer is expected to be on its replica."""
        return self._held_s.mean * max(1.0, output_tokens)

    def ended(self, output_tokens: float, held_s: float) -> None:
        """Learn from a request that ended for how long answers are held."""
        self._held_s.observe(held_s, max(1.0, output_tokens), _KEEP)
