"""How much work a request is: tokens, with those of the answer weighted."""

from cluster.autoscaling.ewma import Ewma
from router.request import RoutingRequest

OUTPUT_WEIGHT = 4.0
"""Prompt tokens that cost as much as one token of the answer. A prompt is computed in parallel, an answer one token a
step; public price lists of hosted models, which follow the cost, ask 3 to 5 times as much for it."""
_PRIOR_OUTPUT_TOKENS = 256.0
_MEMORY = 64.0
"""Answers that count: each takes a 64th of the weight of those before."""
_KEEP = 1.0 - 1.0 / _MEMORY


def work_of(uncached_prompt_tokens: float, output_tokens: float) -> float:
    """Return the work of a request, in tokens of prompt, at least 1."""
    return max(1.0, uncached_prompt_tokens + OUTPUT_WEIGHT * output_tokens)


GENERATING_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
"""Paths whose answers are generated token by token; others cost their prompt only."""


class OutputEstimate:
    """How long a tenant's answers from one model are, learned from those that ended.

    A mean over about the last `_MEMORY` answers, with a first guess that weighs as much as one.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = Ewma(_PRIOR_OUTPUT_TOKENS, 1.0)

    def observe(self, output_tokens: float) -> None:
        """Take in one answer's length."""
        self._seen = self._seen.observed(output_tokens, 1.0, _KEEP)

    def tokens(self, max_tokens: int | None) -> float:
        """Return the length to expect of an answer that may have `max_tokens` at the most (None: any number)."""
        mean = self._seen.mean
        return mean if max_tokens is None else min(mean, float(max_tokens))


class WorkEstimates:
    """What one model's requests are thought to cost, and what they did cost.

    How long answers are is learned for each tenant.
    """

    def __init__(self) -> None:
        self._outputs: dict[str, OutputEstimate] = {}

    def estimate(self, request: RoutingRequest, tenant: str, uncached_tokens: float) -> float:
        """Return a request's estimated work; the answer's length assumed is kept in `request.output_tokens`.

        Args:
            request: what was asked.
            tenant: whose it is.
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
        *,
        uncached_tokens: float | None,
        output_tokens: float | None,
    ) -> float:
        """Learn from a request that ended and return its real work; None: not known, the estimate stands for it."""
        if output_tokens:
            output = self._outputs.get(tenant)
            if output is not None and request.path in GENERATING_PATHS:
                output.observe(output_tokens)
        elif output_tokens is None:
            output_tokens = request.output_tokens
        if uncached_tokens is None:
            uncached_tokens = estimated_work - OUTPUT_WEIGHT * request.output_tokens
        return work_of(uncached_tokens, output_tokens)
