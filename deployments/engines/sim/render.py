"""Makes prompts of requests with a chat template, and does the checks that need a prompt's length."""

from collections.abc import Sequence

from cluster.spec.cluster_spec import SimSpec
from deployments.engines.sim.answer import AnswerRules
from deployments.engines.sim.prompt import SimPrompt, token_ids, units_of_ids
from deployments.engines.sim.protocol import (
    ChatRequest,
    CompletionRequest,
    GenerateRequest,
    Message,
    RequestError,
    bad_request,
)

COMPLETION_MAX_TOKENS = 16
"""Most tokens of a completion whose request gives no number: the OpenAI API's default."""


def chat_prompt(request: ChatRequest, model: str, spec: SimSpec) -> SimPrompt:
    """Return the chat as one text, in ChatML; the tools come first, as JSON.

    Raises:
        RequestError: a message has parts that are not text.
    """
    head = f"<|im_start|>tools\n{bytes(request.tools).decode()}<|im_end|>\n" if bytes(request.tools) else ""
    text = head + render(request.messages, model, add_generation_prompt=request.add_generation_prompt)
    answer_from = len(text)
    if request.continue_final_message:
        text = text.removesuffix("<|im_end|>\n")
        answer_from = len(text) - len(_content(request.messages[-1], model))
    return SimPrompt(text, spec.chars_per_token, from_ids=False, answer_from=answer_from, salt=request.cache_salt or "")


def render(messages: Sequence[Message], model: str, *, add_generation_prompt: bool) -> str:
    """Return messages in ChatML.

    Raises:
        RequestError: a message has parts that are not text.
    """
    lines = [f"<|im_start|>{message.role}\n{_content(message, model)}<|im_end|>\n" for message in messages]
    return "".join(lines) + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def completion_prompts(request: CompletionRequest, spec: SimSpec) -> list[SimPrompt]:
    """Return a completion request's prompts.

    Raises:
        RequestError: there is no prompt, or a token id is outside the vocabulary.
    """
    salt = request.cache_salt or ""
    prompts = []
    for prompt in request.prompts():
        if isinstance(prompt, str):
            prompts.append(SimPrompt(prompt, spec.chars_per_token, from_ids=False, answer_from=len(prompt), salt=salt))
        else:
            try:
                units = units_of_ids(prompt)
            except ValueError as exc:
                raise bad_request(str(exc)) from exc
            prompts.append(SimPrompt(units, 1.0, from_ids=True, answer_from=len(units), salt=salt))
    return prompts


def echo(request: GenerateRequest, prompt: SimPrompt) -> str:
    """Return the text to send before the answer: the prompt if the request asks for it (`echo`), else ""."""
    if not isinstance(request, CompletionRequest) or not request.echo:
        return ""
    return " ".join(map(str, token_ids(prompt.units, 0, prompt))) if prompt.from_ids else prompt.units


def answer_rules(request: GenerateRequest, prompt: SimPrompt, max_model_len: int, spec: SimSpec) -> AnswerRules:
    """Return what a request asks of its answers to `prompt`.

    Args:
        request: the request.
        prompt: one of its prompts.
        max_model_len: most tokens of a prompt with its answer.
        spec: the simulation's spec.

    Raises:
        RequestError: the prompt, or the answer asked for, exceeds the context.
    """
    tokens, asked = prompt.tokens, request.max_tokens
    if tokens >= max_model_len:
        raise bad_request(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains at least "
            f"{tokens} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
            f"length of the input prompt. (parameter=input_tokens, value={tokens})",
            "input_tokens",
        )
    if asked is not None and asked > max_model_len:
        raise bad_request(
            f"max_tokens={asked} cannot be greater than max_model_len={max_model_len}. Please request fewer output "
            f"tokens. (parameter=max_tokens, value={asked})",
            "max_tokens",
        )
    chat = isinstance(request, ChatRequest)
    limit = asked if asked is not None else max_model_len if chat else COMPLETION_MAX_TOKENS
    return AnswerRules(
        max_tokens=min(limit, max_model_len - tokens),
        min_tokens=request.min_tokens,
        stops=request.stops,
        keep_stop=request.include_stop_str_in_output,
        mean_words=spec.answer_tokens if chat and not request.ignore_eos else 0,
    )


def _content(message: Message, model: str) -> str:
    calls = bytes(message.tool_calls).decode()
    if message.content is None:
        return calls
    if isinstance(message.content, str):
        return message.content + calls
    for part in message.content:
        if part.type not in ("text", "input_text", "output_text", "refusal"):
            raise RequestError(400, "BadRequestError", f"{model} is not a multimodal model")
    return "\n".join(part.text or "" for part in message.content) + calls
