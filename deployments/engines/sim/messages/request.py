"""A request of Anthropic's Messages API, and the chat request that it means; the translation is vLLM's."""

from typing import Annotated, Any, Literal

import msgspec

from deployments.engines.sim.api.chat_template import ContentPart, Message
from deployments.engines.sim.api.errors import bad_request
from deployments.engines.sim.api.sampling import StreamOptions
from deployments.engines.sim.chat.request import ChatRequest

encode = msgspec.json.encode


class Block(msgspec.Struct):
    """One block of a message's content."""

    type: Literal["text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"]
    text: str | None = None
    source: dict[str, Any] | None = None
    id: str | None = None
    tool_use_id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    content: str | list[dict[str, Any]] | None = None


class AnthropicMessage(msgspec.Struct):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class AnthropicTool(msgspec.Struct):
    """One tool."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None


class AnthropicToolChoice(msgspec.Struct):
    """`tool_choice`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a choice of a tool without its name.

        Raises:
            ValueError: the name is missing.
        """
        if self.type == "tool" and not self.name:
            raise ValueError("tool_choice.name is required when type is 'tool'")


class OutputFormat(msgspec.Struct):
    """`output_config.format`."""

    type: Literal["json_schema"] = "json_schema"
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    """`output_config`."""

    format: OutputFormat | None = None


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """`POST /v1/messages/count_tokens`."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: list[AnthropicMessage]
    system: str | list[Block] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: AnthropicToolChoice | None = None

    def chat(self) -> ChatRequest:
        """Return the chat whose prompt has the same tokens."""
        messages = self.chat_messages()
        return ChatRequest(model=self.model, messages=messages, tools=self.chat_tools(), reasoning_effort="none")

    def chat_messages(self) -> list[Message]:
        """Return the chat's messages."""
        found: list[Message] = []
        system = self.system if isinstance(self.system, str) else _joined(self.system or [])
        if system:
            found.append(Message("system", system))
        for message in self.messages:
            found += _translated(message)
        return found

    def chat_tools(self) -> msgspec.Raw:
        """Return the chat's `tools`."""
        if self.tools is None:
            return msgspec.Raw()
        functions = [
            {"name": one.name, "description": one.description, "parameters": {"type": "object"} | one.input_schema}
            for one in self.tools
        ]
        return msgspec.Raw(encode([{"type": "function", "function": function} for function in functions]))


class MessagesRequest(CountTokensRequest, kw_only=True):
    """`POST /v1/messages`."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    stream: bool | None = False
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    cache_salt: Any = None
    output_config: OutputConfig | None = None
    thinking: dict[str, Any] | None = None
    kv_transfer_params: dict[str, Any] | None = None

    def chat(self) -> ChatRequest:
        """Return the chat request that this one means.

        Raises:
            RequestError: the choice is of a tool that is not there, or thinking is asked for.
        """
        if self.thinking is not None and self.thinking.get("type") == "enabled":
            raise bad_request(
                "thinking_token_budget is set but reasoning_config is not configured. The simulated engine does not "
                "think."
            )
        form = self.output_config.format if self.output_config is not None else None
        choice = self.tool_choice
        return ChatRequest(
            model=self.model,
            messages=self.chat_messages(),
            stream=self.stream,
            stream_options=StreamOptions(include_usage=True) if self.stream else None,
            max_completion_tokens=self.max_tokens,
            stop=self.stop_sequences,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            cache_salt=self.cache_salt,
            kv_transfer_params=self.kv_transfer_params,
            reasoning_effort="none",
            tools=self.chat_tools(),
            tool_choice=self._chat_choice(),
            parallel_tool_calls=not (choice is not None and choice.disable_parallel_tool_use),
            response_format=None
            if form is None or form.schema is None
            else {"type": "json_schema", "json_schema": {"name": form.type, "schema": form.schema}},
        )

    def _chat_choice(self) -> Any:  # noqa: ANN401 - any JSON
        choice = self.tool_choice
        if choice is None:
            return None
        if choice.type == "tool":
            if choice.name not in [tool.name for tool in self.tools or ()]:
                raise bad_request(f"The tool with name '{choice.name}' is not found in the tools list.")
            return {"type": "function", "function": {"name": choice.name}}
        return "required" if choice.type == "any" else choice.type


def _translated(message: AnthropicMessage) -> list[Message]:
    """Return the chat's messages for one: results of tools are messages of their own."""
    if isinstance(message.content, str):
        return [Message(message.role, message.content)]
    found = [
        Message("tool", block.content if isinstance(block.content, str) else _result(block.content or []))
        for block in message.content
        if block.type == "tool_result"
    ]
    parts = [
        ContentPart("text", one.text)
        if one.type == "text"
        else ContentPart("image_url", image_url=_url_of(one.source or {}))
        for one in message.content
        if one.type in {"text", "image"}
    ]
    calls = [
        {
            "id": one.id,
            "type": "function",
            "function": {"name": one.name, "arguments": encode(one.input or {}).decode()},
        }
        for one in message.content
        if one.type == "tool_use"
    ]
    if parts or calls:
        alone = len(parts) == 1 and parts[0].type == "text"
        content = (parts[0].text if alone else parts) if parts else None
        found.append(Message(message.role, content, msgspec.Raw(encode(calls)) if calls else msgspec.Raw()))
    return found


def _url_of(source: dict[str, Any]) -> str | None:
    if source.get("type") == "url":
        return source.get("url")
    return f"data:{source.get('media_type', 'image/jpeg')};base64,{source.get('data', '')}"


def _joined(blocks: list[Block]) -> str:
    return "".join(block.text or "" for block in blocks if block.type == "text")


def _result(parts: list[dict[str, Any]]) -> str:
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
