"""A request's work, in tokens: those of the prompt that are not cached, plus those of the answer, weighted.

Work is what is counted of requests before and after they run: a tenant's tokens a minute, waits, the autoscaler's load.
Between tenants capacity is shared by cost (`engine_cost.py`).
"""

from typing import Final

from router.estimator.expectation import Usage
from router.estimator.learning.fading_mean import FadingMean
from router.flow_control.engine_cost import OUTPUT_WEIGHT, EngineCost
from router.flow_control.queued_request import QueuedRequest
from router.request import RoutingRequest

_PRIOR_OUTPUT_TOKENS: Final = 256.0
"""Length assumed of an answer before any was seen, in tokens."""
_MEMORY: Final = 64.0
"""Number of answers that count, in effect: each new one takes a 64th of the weight of those before."""
_KEEP: Final = 1.0 - 1.0 / _MEMORY
"""Share of the earlier answers' weight that a new answer leaves."""


def work_of(uncached_prompt_tokens: float, output_tokens: float) -> float:
    """Return a request's work in prompt tokens, at least 1."""
    work = uncached_prompt_tokens + OUTPUT_WEIGHT * output_tokens
    return work if work > 1.0 else 1.0  # noqa: FURB136 - runs for each request: no call


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
        return mean if max_tokens is None or mean <= max_tokens else float(max_tokens)


class WorkEstimates:
    """Estimates work and cost of one model's requests, and settles them when they end. Learns each tenant's answers.

    Work counts what is to be done, for limits, waits and the autoscaler; cost is what tenants' shares are counted in.

    Attributes:
        cost: the engines' prices.
    """

    def __init__(self) -> None:
        self.cost = EngineCost()
        self._outputs: dict[str, OutputEstimate] = {}

    def estimate(self, request: RoutingRequest, queued: QueuedRequest, uncached_tokens: float) -> None:
        """Set a request's estimated work, the tokens in it and the expected length of its answer.

        Args:
            request: the request.
            queued: the same, as flow control sees it.
            uncached_tokens: prompt tokens that must be computed.
        """
        if request.path in GENERATING_PATHS:
            output = self._outputs.get(queued.tenant)
            if output is None:
                output = self._outputs[queued.tenant] = OutputEstimate()
            request.output_tokens = queued.output_tokens = output.tokens(request.max_tokens)
        queued.uncached_tokens = uncached_tokens
        queued.prompt_tokens = uncached_tokens
        if request.match.tokens > uncached_tokens:
            queued.prompt_tokens = request.match.tokens
        queued.work = work_of(uncached_tokens, queued.output_tokens)

    def settle(  # noqa: PLR0913, PLR0917 - what there is to say of an end; positional for the hot path
        self,
        request: RoutingRequest,
        queued: QueuedRequest,
        usage: Usage,
        sent_tokens: int | None,
        first_token_s: float | None,
        now_s: float,
    ) -> tuple[float, float]:
        """Learn from a request that ended, and return its real work in tokens and its real cost in seconds.

        Args:
            request: the request.
            queued: the same, as flow control sees it.
            usage: the tokens that its answer says it used; for what it does not say, the estimate stands.
            sent_tokens: about how many tokens of the answer the client got, used where `usage` does not say; None: not
                known.
            first_token_s: when its first token came, monotonic seconds; None: not known.
            now_s: when it ended, monotonic seconds.
        """
        output_tokens: float | None = usage.completion_tokens
        if output_tokens is None:
            output_tokens = sent_tokens
        if output_tokens:
            output = self._outputs.get(queued.tenant)
            if output is not None and request.path in GENERATING_PATHS:
                output.observe(output_tokens)
        elif output_tokens is None:
            output_tokens = queued.output_tokens
        if usage.prompt_tokens is None:
            uncached = queued.uncached_tokens
            prompt_tokens = queued.prompt_tokens
        else:
            prompt_tokens = float(usage.prompt_tokens)
            uncached = prompt_tokens - (usage.cached_tokens or 0)
        held_s = self.cost.held_s(uncached, request.now_s, first_token_s, now_s)
        self.cost.ended(output_tokens, held_s)
        return work_of(uncached, output_tokens), self.cost.of(uncached, prompt_tokens, output_tokens, held_s)
