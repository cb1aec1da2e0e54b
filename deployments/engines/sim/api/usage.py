"""The usage of a request, in vLLM's form."""

from typing import Any

from deployments.engines.sim.generation.core import Generation
from deployments.engines.sim.generation.sequence import Sequence


def counts(generation: Generation) -> dict[str, int]:
    """Return a request's tokens so far; a prompt with several answers counts once."""
    prompts = _first_of_each_prompt(generation)
    prompt_tokens = sum(sequence.prompt.tokens for sequence in prompts)
    completion_tokens = sum(answer.tokens for answer in generation.answers)
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def cache_counts(generation: Generation) -> tuple[int, int]:
    """Return how many of a request's prompt tokens were found in the prefix cache, and how many went into it.

    Of a prompt that another engine computed, what that engine had found counts, as in vLLM.
    """
    prompts = _first_of_each_prompt(generation)
    return sum(map(_cached_tokens, prompts)), sum(one.created_tokens for one in prompts)


def usage(generation: Generation) -> dict[str, Any]:
    """Return a request's usage so far, with the prefix cache's part in it."""
    cached, created = cache_counts(generation)
    details = {"cached_tokens": cached, "created_cache_tokens": created}
    return {**counts_with_reasoning(generation), "prompt_tokens_details": details}


def counts_before(generation: Generation) -> dict[str, Any]:
    """Return a chat's tokens as the event tells them that opens its message: none generated yet."""
    found = counts_with_reasoning(generation) | {"completion_tokens": 0}
    return (
        found | {"completion_tokens_details": {"reasoning_tokens": 0}}
        if "completion_tokens_details" in found
        else found
    )


def counts_with_reasoning(generation: Generation) -> dict[str, Any]:
    """Return a chat's tokens so far, as its events tell them; those of reasoning where it reasons."""
    found: dict[str, Any] = counts(generation)
    if any(answer.rules.mean_reasoning_words for answer in generation.answers):
        reasoning = sum(answer.reasoning_tokens for answer in generation.answers)
        found["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return found


def _cached_tokens(sequence: Sequence) -> int:
    elsewhere = sequence.cached_elsewhere
    return (sequence.cached_tokens or 0) if elsewhere is None else elsewhere


def _first_of_each_prompt(generation: Generation) -> list[Sequence]:
    return list({id(one.prompt): one for one in reversed(generation.sequences)}.values())
