"""The simulated engine's part of the OpenAI API: the requests it accepts, and errors in vLLM's form."""

import re
from typing import Any, TypeVar

import msgspec

MAX_CHOICES = 128
"""Most answers that one request may ask for with `n`; vLLM has such a limit too."""


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: the HTTP status.
        body: the error as JSON in OpenAI's form.
    """

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": status}})


def bad_request(message: str, param: str | None = None) -> RequestError:
    """Return the error for a request whose meaning is wrong."""
    return RequestError(400, "BadRequestError", message, param)


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class GenerateRequest(msgspec.Struct, kw_only=True):
    """The fields that chat and completion requests share; fields without effect here are left out and ignored."""

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    n: int | None = 1
    stop: str | list[str] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    seed: int | None = None
    temperature: float | None = None
    cache_salt: str | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The strings that end an answer."""
        listed = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in listed if text)

    @property
    def choices(self) -> int:
        """Number of answers asked for, for each prompt."""
        return 1 if self.n is None else self.n

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def check(self) -> None:
        """Refuse what vLLM refuses.

        Raises:
            RequestError: a value is out of its range.
        """
        if self.stream_options and not self.stream:
            raise bad_request(
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)", "stream_options"
            )
        if not 1 <= self.choices <= MAX_CHOICES:
            raise bad_request(f"n must be at least 1 and at most {MAX_CHOICES}, got {self.choices}.")
        if self.choices > 1 and self.temperature == 0:
            raise bad_request(f"n must be 1 when using greedy sampling, got {self.choices}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise bad_request(
                f"max_tokens must be at least 1, got {self.max_tokens}. "
                f"(parameter=max_tokens, value={self.max_tokens})",
                "max_tokens",
            )
        if self.temperature is not None and self.temperature < 0:
            raise bad_request(
                f"temperature must be non-negative, got {self.temperature}. "
                f"(parameter=temperature, value={self.temperature})",
                "temperature",
            )


class ChatRequest(GenerateRequest, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: list[Message]
    tools: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: int | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    logprobs: bool | None = False

    def check(self) -> None:
        """Refuse what vLLM refuses.

        Raises:
            RequestError: a value is out of its range, or values contradict each other.
        """
        if self.max_completion_tokens is not None:
            self.max_tokens = self.max_completion_tokens
        super().check()
        if not self.messages:
            raise bad_request("Cannot apply chat template to an empty conversation. Provide at least one message.")
        if self.continue_final_message and self.add_generation_prompt:
            raise bad_request(
                "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when "
                "you want the model to continue the final message, and add_generation_prompt when you want to add a "
                "header that will prompt it to start a new assistant message instead."
            )


class CompletionRequest(GenerateRequest, kw_only=True):
    """`POST /v1/completions`."""

    prompt: str | list[Any] | None = None
    echo: bool | None = False
    logprobs: int | None = None

    def prompts(self) -> list[str | list[int]]:
        """Return the prompts: each a text or a list of token ids.

        Raises:
            RequestError: there is no prompt, or one is neither text nor token ids.
        """
        prompt = self.prompt
        if prompt is None or prompt == "":
            raise bad_request(
                "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)", "prompt"
            )
        if isinstance(prompt, str):
            return [prompt]
        if not prompt:
            raise bad_request("You must pass at least one prompt")
        if _are_ids(prompt):
            return [prompt]
        if all(isinstance(one, str) and one for one in prompt) or all(
            isinstance(one, list) and _are_ids(one) for one in prompt
        ):
            return prompt
        message = "1 validation error:\n  prompt must be a string, token ids, or a list of either"
        raise RequestError(400, "Bad Request", message, "body.prompt.0")


class TokenizeRequest(msgspec.Struct):
    """`POST /tokenize`."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_generation_prompt: bool = True


def _are_ids(values: list[Any]) -> bool:
    return bool(values) and all(type(value) is int for value in values)


AnyRequest = TypeVar("AnyRequest", ChatRequest, CompletionRequest, TokenizeRequest)

_AT = re.compile(r" - at `\$\.?([^`]*)`$")


def decode(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """Decode a body as `kind`.

    Raises:
        RequestError: the body is not JSON, or has a wrong field, which `param` names.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        where = _AT.search(str(exc))
        missing = re.search(r"missing required field `(\w+)`", str(exc))
        path = missing.group(1) if missing else where.group(1) if where else ""
        param = f"body.{path}" if path else "body"
        raise RequestError(400, "Bad Request", f"1 validation error:\n  {exc}", param) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestError(400, "Bad Request", f"1 validation error:\n  JSON decode error: {exc}", "body") from exc
