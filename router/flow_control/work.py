"""How much work a request is: tokens, with those of the answer weighted."""

OUTPUT_WEIGHT = 4.0
"""Prompt tokens that cost as much as one token of the answer. A prompt is computed in parallel, an answer one token a
step; public price lists of hosted models, which follow the cost, ask 3 to 5 times as much for it."""
_PRIOR_OUTPUT_TOKENS = 256.0
_MEMORY = 64.0


def work_of(uncached_prompt_tokens: float, output_tokens: float) -> float:
    """Return the work of a request, in tokens of prompt, at least 1."""
    return max(1.0, uncached_prompt_tokens + OUTPUT_WEIGHT * output_tokens)


class OutputEstimate:
    """How long a tenant's answers from one model are, learned from those that ended.

    A mean over about the last 64 answers, from a prior of 256 tokens that fades as answers are seen.
    """

    __slots__ = ("_count", "_mean")

    def __init__(self) -> None:
        self._mean = _PRIOR_OUTPUT_TOKENS
        self._count = 1.0

    def observe(self, output_tokens: float) -> None:
        """Take in one answer's length."""
        self._count = min(self._count + 1.0, _MEMORY)
        self._mean += (output_tokens - self._mean) / self._count

    def tokens(self, max_tokens: int | None) -> float:
        """Return the length to expect of an answer that may have `max_tokens` at the most (None: any number)."""
        return self._mean if max_tokens is None else min(self._mean, float(max_tokens))
