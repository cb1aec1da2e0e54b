"""A request of the Responses API, and the chat request that it means."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from deployments.engines.sim.api.chat_template import ContentPart, Message
from deployments.engines.sim.api.decoding import convert
from deployments.engines.sim.api.errors import bad_value
from deployments.engines.sim.chat.request import ChatRequest

encode = msgspec.json.encode

LOGPROBS = "message.output_text.logprobs"
"""What `include` names to get log-probabilities."""


class InputItem(msgspec.Struct):
    """One item of `input`: a message, a call of a tool, or its result; others are passed over."""

    type: str = "message"
    role: str | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: Any = None


class ResponsesTool(msgspec.Struct):
    """One entry of `tools`; only functions are ever called."""

    type: str
    name: str | None = None
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextFormat(msgspec.Struct):
    """`text.format`."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    schema: dict[str, Any] | None = None


class TextConfig(msgspec.Struct):
    """`text`."""

    format: TextFormat | None = None


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """`POST /v1/responses`."""

    input: str | list[dict[str, Any]]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    background: bool | None = False
    store: bool | None = True
    stream: bool | None = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = 0.0
    frequency_penalty: float | None = 0.0
    tools: list[dict[str, Any]] = []
    tool_choice: Any = "auto"
    parallel_tool_calls: bool | None = True
    text: dict[str, Any] | None = None
    include: list[str] | None = None
    top_logprobs: int | None = 0
    truncation: Literal["auto", "disabled"] | None = "disabled"
    reasoning: dict[str, Any] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] = "auto"
    prompt: Any = None
    cache_salt: Any = None
    kv_transfer_params: dict[str, Any] | None = None
    request_id: str | None = None
    user: str | None = None

    @property
    def includes_logprobs(self) -> bool:
        """Whether log-probabilities are asked for."""
        return LOGPROBS in (self.include or ())

    def check(self) -> None:
        """Refuse what vLLM refuses; the chat request's own checks follow.

        Raises:
            RequestError: a value is out of its range, or values contradict each other.
        """
        if self.prompt is not None:
            raise bad_value("prompt template is not supported", "prompt")
        if self.background and not self.store:
            raise bad_value("background can only be used when `store` is true", "background")
        if self.tools:
            return
        if self.tool_choice == "required":
            raise bad_value("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
        if isinstance(self.tool_choice, dict):
            raise bad_value("Tool choice 'function' not found in 'tools' parameter.", "tool_choice")
        self.tool_choice = "none"

    def messages(self) -> list[Message]:
        """Return `input` as a chat's messages.

        Raises:
            RequestError: an item is wrong.
        """
        if isinstance(self.input, str):
            return [Message("user", self.input)]
        return [message for item in convert(self.input, list[InputItem], "input") for message in _of_item(item)]

    def chat(self, messages: Sequence[Message]) -> ChatRequest:
        """Return the chat request that this one means.

        Args:
            messages: the chat so far, the result of `messages` included.

        Raises:
            RequestError: the tools or the format of the text are wrong.
        """
        functions = [one for one in convert(self.tools, list[ResponsesTool], "tools") if one.type == "function"]
        tools = [
            {"type": "function", "function": {"name": one.name, "parameters": one.parameters or {"type": "object"}}}
            for one in functions
        ]
        system = [Message("system", self.instructions)] if self.instructions else []
        return ChatRequest(
            model=self.model,
            messages=[*system, *messages],
            stream=self.stream,
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            cache_salt=self.cache_salt,
            kv_transfer_params=self.kv_transfer_params,
            user=self.user,
            reasoning_effort="none",
            tools=msgspec.Raw(encode(tools)) if tools else msgspec.Raw(),
            tool_choice=self._chat_choice() if tools else None,
            parallel_tool_calls=self.parallel_tool_calls,
            logprobs=self.includes_logprobs,
            top_logprobs=self.top_logprobs if self.includes_logprobs else 0,
            response_format=self._chat_format(),
        )

    def _chat_choice(self) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(self.tool_choice, dict) and "name" in self.tool_choice:
            return {"type": "function", "function": {"name": self.tool_choice["name"]}}
        return self.tool_choice

    def _chat_format(self) -> dict[str, Any] | None:
        config = convert(self.text, TextConfig | None, "text")  # type: ignore[arg-type]
        form: TextFormat | None = config.format if config is not None else None
        if form is None or form.type == "text":
            return None
        schema = {"json_schema": {"name": form.name, "schema": form.schema}} if form.type == "json_schema" else {}
        return {"type": form.type, **schema}


def _of_item(item: InputItem) -> list[Message]:
    match item.type:
        case "message":
            return [Message(item.role or "user", item.content)]
        case "function_call":
            function = {"name": item.name, "arguments": item.arguments or "{}"}
            calls = [{"id": item.call_id, "type": "function", "function": function}]
            return [Message("assistant", None, msgspec.Raw(encode(calls)))]
        case "function_call_output":
            return [Message("tool", item.output if isinstance(item.output, str) else encode(item.output).decode())]
        case _:
            return []  # reasoning, and what other tools left
