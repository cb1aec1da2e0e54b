"""Writes messages as one prompt in ChatML."""

from collections.abc import Sequence
from typing import Any

import msgspec

from deployments.engines.sim.api.errors import bad_request

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


class ContentPart(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    image_url: Any = None


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def thought(self) -> str | None:
        """The reasoning before its content, under either name; None: there was none."""
        return self.reasoning or self.reasoning_content


class _Named(msgspec.Struct):
    name: str = ""


class _Call(msgspec.Struct):
    function: _Named


def render(messages: Sequence[Message], tools: msgspec.Raw, model: str, *, add_generation_prompt: bool) -> str:
    """Return a chat as one text; the tools come first, as JSON.

    Raises:
        RequestError: there is no message, or one has parts that are not text.
    """
    if not messages:
        raise bad_request("Cannot apply chat template to an empty conversation. Provide at least one message.")
    listed = bytes(tools).decode()
    head = f"<|im_start|>tools\n{listed}<|im_end|>\n" if listed and listed != "null" else ""
    lines = [f"<|im_start|>{message.role}\n{content(message, model)}<|im_end|>\n" for message in messages]
    return head + "".join(lines) + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def content(message: Message, model: str) -> str:
    """Return a message's content as text, its tool calls included.

    Raises:
        RequestError: it has parts that are not text.
    """
    calls = bytes(message.tool_calls).decode()
    if calls == "null":
        calls = ""
    if message.content is None or isinstance(message.content, str):
        return (message.content or "") + calls
    for part in message.content:
        if part.type not in _TEXT_PARTS:
            raise bad_request(f"{model} is not a multimodal model")
    return "\n".join(part.text or "" for part in message.content) + calls


def called_names(message: Message) -> list[str]:
    """Return the names of the tools that a message calls."""
    raw = bytes(message.tool_calls)
    if not raw:
        return []
    try:
        calls = msgspec.json.decode(raw, type=list[_Call] | None)
    except msgspec.MsgspecError:
        return []  # whatever it is, it stays in the prompt as it came
    return [call.function.name for call in calls or ()]
