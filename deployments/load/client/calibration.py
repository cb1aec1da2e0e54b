"""Finds before a run how many words a token is on the endpoint's tokenizer, by two short requests."""

from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

from cluster.errors import ClusterError
from deployments.load.client.endpoint import LoadEndpoint
from deployments.standalone.rate_probe.prompts import prompt_of

_SHORT, _LONG = 32, 288
_WORDS: Final = (_SHORT, _LONG)


@dataclass(frozen=True, slots=True)
class PromptScale:
    """How lengths of prompts are reached.

    Attributes:
        words_per_token: words of a token.
        overhead_tokens: tokens of a prompt without words: the chat template's.
        is_measured: the endpoint said so; else one token a word is assumed.
    """

    words_per_token: float = 1.0
    overhead_tokens: int = 0
    is_measured: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


async def prompt_scale(endpoint: LoadEndpoint, seed: int) -> PromptScale:
    """Ask the endpoint, and return how many words a token is.

    Raises:
        ClusterError: it does not answer; the message says what it said.
    """
    rng = Random(f"calibration {seed}")  # noqa: S311 - no secret
    told = []
    for words in _WORDS:
        messages = [{"role": "user", "content": prompt_of(words, rng)}]
        answer, _, problem = await endpoint.ask(endpoint.body(messages, 1))
        if problem:
            raise ClusterError(f"the endpoint does not answer a short request: {problem}")
        if answer.usage.prompt_tokens is None:
            return PromptScale()
        told.append(answer.usage.prompt_tokens)
    tokens = told[1] - told[0]
    if tokens <= 0:
        return PromptScale()
    per_word = tokens / (_LONG - _SHORT)
    return PromptScale(1.0 / per_word, max(0, round(told[0] - _SHORT * per_word)), is_measured=True)
