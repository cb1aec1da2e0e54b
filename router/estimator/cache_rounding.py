"""Cache rounding: prompt tokens that an engine computes again although it holds a prompt's beginning."""

from typing import Final, final

from router.estimator.learning.fading_mean import FadingMean

FIRST_TOKENS: Final = 16.0
"""Tokens assumed before any answer said: half a block of 32. vLLM's have 16 on GPUs and 128 on CPUs."""
FIRST_ANSWERS: Final = 4.0
"""Answers that this first guess counts as."""
MOST_SHARE: Final = 0.5
"""Share of a match from which a difference is no rounding: the engine has evicted the prefix, or had it from others."""
_KEEP: Final = 0.99
"""Share of the past that each answer leaves: in effect the last hundred count."""


@final
class CacheRounding:
    """The mean of how many more prompt tokens engines compute than the matched chunks leave.

    Engines cache whole blocks only, so what a shared prefix has beyond its last whole block is computed for each
    request. It is little, but a request whose prompt is cached computes little else. By the 22 tokens of its question
    alone, without 24 of a block's rest, twice too many would queue up where a hot prefix is, beside idle replicas.

    Only where it is inferred what a replica caches: one that reports it says where its chunks end in tokens.

    Attributes:
        tokens: the mean, 0 or more.
    """

    __slots__ = ("_seen", "tokens")

    def __init__(self) -> None:
        self._seen = FadingMean(FIRST_TOKENS * FIRST_ANSWERS, FIRST_ANSWERS)
        self.tokens = FIRST_TOKENS

    def learn(self, prompt_tokens: float, cached_tokens: float, matched_share: float) -> None:
        """Learn from an answer to a prompt of which the replica was believed to hold a part.

        Args:
            prompt_tokens: tokens of the prompt, by the answer.
            cached_tokens: those of them that the engine had cached, by the answer.
            matched_share: share of the prompt's bytes that the replica was believed to hold, above 0 and up to 1.
        """
        matched_tokens = prompt_tokens * matched_share
        beyond = matched_tokens - cached_tokens
        if abs(beyond) < MOST_SHARE * matched_tokens:
            self._seen.observe(beyond, 1.0, _KEEP)
            self.tokens = max(0.0, self._seen.mean)
