"""Has prompts computed of which nothing is generated."""

from collections.abc import Sequence

from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.generating import answers_of
from deployments.engines.sim.api.sampling import SamplingRequest
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.api.serving import aborted_if_left, finished
from deployments.engines.sim.api.usage import counts
from deployments.engines.sim.generation.prompt import SimPrompt


class _Prefill(SamplingRequest):
    """A request that only prefills: the one token it samples is dropped."""

    @property
    def alternatives(self) -> int | None:
        return None


async def prefilled(exchange: SimExchange, served: ServedModel, response_id: str, prompts: Sequence[SimPrompt]) -> int:
    """Wait until all prompts would have been computed; return their tokens.

    Raises:
        RequestError: a prompt exceeds the context, or the engine died.
    """
    core = served.core
    answers = answers_of(_Prefill(), prompts, served.sim, limit=1, mean_words=0)
    generation = core.submit(response_id, prompts, answers)
    async with aborted_if_left(exchange, core, generation):
        await finished(core, generation)
    return counts(generation)["prompt_tokens"]


def usage_of(tokens: int) -> dict[str, int]:
    """Return the usage of an answer without generated tokens."""
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
