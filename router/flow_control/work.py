"""A request's work, in tokens: those of the prompt that are not cached, plus those of the answer, weighted."""

from typing import Final

from router.estimator.expectation import Usage
from router.estimator.learning.fading_mean import FadingMean
from router.request import RoutingRequest

OUTPUT_WEIGHT: Final = 4.0
"""Prompt tokens that cost as much as one token of the answer. A prompt is computed in parallel, an answer one token per
step. Public price lists of hosted models ask 3 to 5 times as much for a token of the answer."""
_PRIOR_OUTPUT_TOKENS: Final = 256.0
"""Length assumed of an answer before any was seen, in tokens."""
_MEMORY: Final = 64.0
"""Number of answers that count, in effect: each new one takes a 64th of the weight of those before."""
_KEEP: Final = 1.0 - 1.0 / _MEMORY
"""Share of the earlier answers' weight that a new answer leaves."""


def work_of(uncached_prompt_tokens: float, output_tokens: float) -> float:
    """Return a request's work in prompt tokens, at least 1."""
    return max(1.0, uncached_prompt_tokens + OUTPUT_WEIGHT * output_tokens)


GENERATING_PATHS: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
"""Paths whose answers are generated token by token; requests to others cost their prompt only."""


class OutputEstimate:
    """The expected length of a tenant's answers from one model, in tokens.

    It is the mean of about the last `_MEMORY` answers, with a first guess that counts as one answer.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = FadingMean(_PRIOR_OUTPUT_TOKENS, 1.0)

    def observe(self, output_tokens: float) -> None:
        """Learn from one answer's length, in tokens."""
        self._seen.observe(output_tokens, 1.0, _KEEP)

    def tokens(self, max_tokens: int | None) -> float:
        """Return the expected length of an answer, in tokens, at most `max_tokens`; None: no such limit."""
        mean = self._seen.mean
        return mean if max_tokens is None else min(mean, float(max_tokens))


class WorkEstimates:
    """Estimates the work of one model's requests, and settles it when they end. Learns each tenant's answer length."""

    def __init__(self) -> None:
        self._outputs: dict[str, OutputEstimate] = {}

    def estimate(self, request: RoutingRequest, tenant: str, uncached_tokens: float) -> float:
        """Return a request's estimated work in tokens, and set `request.output_tokens` to the expected answer length.

        Args:
            request: the request.
            tenant: name of the tenant that sent it.
            uncached_tokens: prompt tokens that must be computed.
        """
        if request.path not in GENERATING_PATHS:
            return work_of(uncached_tokens, 0.0)
        output = self._outputs.get(tenant)
        if output is None:
            output = self._outputs[tenant] = OutputEstimate()
        request.output_tokens = output.tokens(request.max_tokens)
        return work_of(uncached_tokens, request.output_tokens)

    def settle(
        self,
        request: RoutingRequest,
        tenant: str,
        estimated_work: float,
        usage: Usage,
        sent_tokens: int | None,
    ) -> float:
        """Learn from a request that ended, and return its real work in tokens.

        Args:
            request: the request.
            tenant: name of the tenant that sent it.
            estimated_work: what `estimate` returned for it.
            usage: the tokens that its answer says it used; for what it does not say, the estimate stands.
            sent_tokens: about how many tokens of the answer the client got, used where `usage` does not say; None: not
                known.
        """
        output_tokens: float | None = usage.completion_tokens
        if output_tokens is None:
            output_tokens = sent_tokens
        if output_tokens:
            output = self._outputs.get(tenant)
            if output is not None and request.path in GENERATING_PATHS:
                output.observe(output_tokens)
        elif output_tokens is None:
            output_tokens = request.output_tokens
        if usage.prompt_tokens is None:
            return work_of(estimated_work - OUTPUT_WEIGHT * request.output_tokens, output_tokens)
        return work_of(usage.prompt_tokens - (usage.cached_tokens or 0), output_tokens)
