"""Log-probabilities in the forms of the APIs. They are made up: every sampled token is the likeliest."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from xxhash import xxh32_intdigest

from deployments.engines.sim.generation.prompt import SimPrompt, boundary, token_ids
from deployments.engines.sim.generation.text import VOCABULARY

LOGPROB: Final = -0.125
"""Log-probability given for every sampled token."""
STEP: Final = 1.5
"""What each further alternative is less likely by."""


def likeliest(token: str, count: int) -> list[tuple[str, float]]:
    """Return a sampled token and its alternatives, `count` in all and at least the token, with log-probabilities."""
    start = xxh32_intdigest(token.encode("utf-8", "surrogatepass"))
    others = [" " + VOCABULARY[(start + place) % len(VOCABULARY)] for place in range(count)]
    tokens = [token, *(other for other in others if other != token)][: max(1, count)]
    return [(one, LOGPROB - STEP * rank) for rank, one in enumerate(tokens)]


def chat_logprobs(tokens: Sequence[str], alternatives: int) -> list[dict[str, Any]]:
    """Return what chat completions and responses give for each token."""
    return [
        {
            **_entry(token, LOGPROB),
            "top_logprobs": [_entry(*one) for one in likeliest(token, alternatives)[:alternatives]],
        }
        for token in tokens
    ]


def completion_logprobs(prompt: Sequence[str], tokens: Sequence[str], alternatives: int, offset: int) -> dict[str, Any]:
    """Return what completions give.

    Args:
        prompt: the prompt's tokens if they are echoed, else none.
        tokens: the answer's tokens.
        alternatives: number of alternatives asked for.
        offset: number of characters shown before.
    """
    shown = [*prompt, *tokens]
    offsets, place = [], offset
    for token in shown:
        offsets.append(place)
        place += len(token)
    found = {
        "text_offset": offsets,
        "token_logprobs": [LOGPROB] * len(shown),
        "tokens": shown,
        "top_logprobs": [dict(likeliest(token, alternatives)) for token in shown],
    }
    if prompt:  # nothing comes before a prompt's first token that could make it likely
        found["token_logprobs"][0] = found["top_logprobs"][0] = None  # type: ignore[index]
    return found


def prompt_logprobs(prompt: SimPrompt) -> list[dict[str, Any] | None]:
    """Return what chats and completions give for a prompt's tokens."""
    ids = token_ids(prompt.units, 0, prompt)
    found: list[dict[str, Any] | None] = [
        {str(token): {"logprob": LOGPROB, "rank": 1, "decoded_token": text}}
        for token, text in zip(ids, prompt_tokens(prompt), strict=True)
    ]
    return [None, *found[1:]]


def prompt_tokens(prompt: SimPrompt) -> list[str]:
    """Return the text of each of a prompt's tokens; for one of token ids, the ids."""
    if prompt.from_ids:
        return [f"{token} " for token in token_ids(prompt.units, 0, prompt)]
    bounds = [boundary(token, prompt.units_per_token) for token in range(prompt.tokens + 1)]
    return [prompt.units[start:end] for start, end in pairwise(bounds)]


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}
