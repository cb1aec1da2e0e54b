"""From a checked request to the answers that the simulation generates."""

from collections.abc import Sequence
from uuid import uuid4

from xxhash import xxh3_64_intdigest

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.sim.api.errors import bad_request, bad_value
from deployments.engines.sim.api.sampling import SamplingRequest
from deployments.engines.sim.generation.answer import Answer, AnswerRules
from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.generation.script import Script
from deployments.engines.sim.guided.errors import UnfitError
from deployments.engines.sim.guided.structured_output import AnswerForm, text_of
from deployments.engines.sim.guided.tool_choice import Tool, script_of_calls


def answers_of(  # noqa: PLR0913 - what decides about an answer
    request: SamplingRequest,
    prompts: Sequence[SimPrompt],
    spec: SimSpec,
    *,
    limit: int | None,
    mean_words: int,
    mean_reasoning_words: int = 0,
    form: AnswerForm | None = None,
    calls: Sequence[Tool] = (),
) -> list[Answer]:
    """Return the answers to generate: `n` for each prompt.

    Args:
        request: the request.
        prompts: its prompts.
        spec: the simulation's spec.
        limit: most tokens of an answer; None: what the context leaves.
        mean_words: mean length of an answer, words; 0: it never ends by itself.
        mean_reasoning_words: mean length of the reasoning before it, words; 0: none.
        form: the form of each answer; None: plain text.
        calls: the tools that each answer calls; if there are some, it is nothing but calls.

    Raises:
        RequestError: a prompt, or the answer asked for, exceeds the context, or nothing fits the form or the tools.
    """
    answers: list[Answer] = []
    for prompt in prompts:
        rules = AnswerRules(
            max_tokens=_most_tokens(prompt, limit, spec.kv_blocks * spec.block_tokens),
            min_tokens=request.min_tokens,
            stops=request.stops,
            keep_stop=request.include_stop_str_in_output,
            mean_words=0 if request.ignore_eos else mean_words,
            mean_reasoning_words=mean_reasoning_words,
        )
        for choice in range(request.choices):
            salt = ((request.seed or 0) * 1_000_003 + choice + _difference(prompt.adapter)) & 0xFFFFFFFF
            script = _script(prompt, salt, form, calls)
            words: list[str] | None = None if request.alternatives is None else []
            answers.append(Answer(len(answers), prompt, rules, salt, script, words=words))
    return answers


def _difference(adapter: str) -> int:
    """Return a number that makes an adapter's answers other than its base model's; 0 for none."""
    return xxh3_64_intdigest(adapter.encode()) if adapter else 0


def _script(prompt: SimPrompt, salt: int, form: AnswerForm | None, calls: Sequence[Tool]) -> Script | None:
    if form is None and not calls:
        return None
    # Of the prompt without the answer's beginning, so that an answer that is cut goes on elsewhere as it began.
    seed = xxh3_64_intdigest(prompt.units[: prompt.answer_from].encode("utf-8", "surrogatepass"), seed=salt)
    try:
        if calls:
            return script_of_calls(calls, seed, f"chatcmpl-tool-{uuid4().hex[:14]}")
        return None if form is None else Script(text_of(form, seed))
    except UnfitError as exc:
        raise bad_request(str(exc)) from exc


def _most_tokens(prompt: SimPrompt, limit: int | None, max_model_len: int) -> int:
    tokens = prompt.tokens
    if not tokens:
        raise bad_request("The decoder prompt cannot be empty")
    if tokens >= max_model_len:
        raise bad_value(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains at least "
            f"{tokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
            "length of the input prompt.",
            "input_tokens",
            tokens,
        )
    return max_model_len - tokens if limit is None else min(limit, max_model_len - tokens)


def check_limit(asked: int | None, max_model_len: int, param: str = "max_tokens") -> None:
    """Refuse a limit beyond the context; `param`: the API's name for the limit.

    Raises:
        RequestError: it is beyond.
    """
    if asked is not None and asked > max_model_len:
        raise bad_value(
            f"{param}={asked} cannot be greater than max_model_len={max_model_len}. Please request fewer output "
            "tokens.",
            param,
            asked,
        )
