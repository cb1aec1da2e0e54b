"""The fields of each API's request body that make up the prompt. All other fields are skipped, not checked.

A `msgspec.Raw` field holds its JSON bytes as they came, or b"" where the field is missing.
"""

from __future__ import annotations

import msgspec

_MISSING = msgspec.Raw(b"")


class Media(msgspec.Struct, gc=False):
    """An image, audio, video or file, by reference or inline."""

    url: msgspec.Raw = _MISSING
    data: msgspec.Raw = _MISSING
    file_data: msgspec.Raw = _MISSING
    file_id: msgspec.Raw = _MISSING
    detail: msgspec.Raw = _MISSING
    format: msgspec.Raw = _MISSING
    media_type: msgspec.Raw = _MISSING


MEDIA_FIELDS = (
    "image_url",
    "input_audio",
    "audio_url",
    "video_url",
    "file",
    "source",
    "file_id",
    "file_data",
    "file_url",
    "image_embeds",
    "audio_embeds",
    "video_embeds",
    "data",
    "uuid",
)
"""Fields of a `PromptPart` that hold media. vLLM has `data` in parts of embeddings, and knows an item that it has seen
by its `uuid` alone."""


class PromptPart(msgspec.Struct, gc=False):
    """One part of a message's content: text, media, a tool's use or a tool's result."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    tool_use_id: str | None = None
    input: msgspec.Raw = _MISSING
    content: str | list[PromptPart | str] | None = None
    image_url: msgspec.Raw = _MISSING
    input_audio: msgspec.Raw = _MISSING
    audio_url: msgspec.Raw = _MISSING
    video_url: msgspec.Raw = _MISSING
    file: msgspec.Raw = _MISSING
    source: msgspec.Raw = _MISSING
    file_id: msgspec.Raw = _MISSING
    file_data: msgspec.Raw = _MISSING
    file_url: msgspec.Raw = _MISSING
    image_embeds: msgspec.Raw = _MISSING
    audio_embeds: msgspec.Raw = _MISSING
    video_embeds: msgspec.Raw = _MISSING
    data: msgspec.Raw = _MISSING
    uuid: msgspec.Raw = _MISSING


Content = str | list[PromptPart | str] | None


class PromptMessage(msgspec.Struct, gc=False):
    """One message of a chat."""

    role: str
    content: Content = None
    name: str | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    tool_calls: msgspec.Raw = _MISSING


class ChatHead(msgspec.Struct, gc=False):
    """What stands beside the messages in the body of `POST /v1/chat/completions`."""

    tools: msgspec.Raw = _MISSING
    functions: msgspec.Raw = _MISSING
    chat_template: msgspec.Raw = _MISSING
    chat_template_kwargs: msgspec.Raw = _MISSING
    documents: msgspec.Raw = _MISSING
    cache_salt: str | None = None


class ChatBody(ChatHead, kw_only=True, gc=False):
    """The body of `POST /v1/chat/completions`."""

    messages: list[PromptMessage]


class AnthropicHead(msgspec.Struct, gc=False):
    """What stands beside the messages in the body of `POST /v1/messages`."""

    system: msgspec.Raw = _MISSING
    tools: msgspec.Raw = _MISSING
    cache_salt: str | None = None


class AnthropicBody(AnthropicHead, kw_only=True, gc=False):
    """The body of `POST /v1/messages`."""

    messages: list[PromptMessage]


class Item(msgspec.Struct, gc=False):
    """One item of a Responses API input: a message, a tool call, its output, or reasoning."""

    type: str = ""
    role: str = ""
    content: Content = None
    summary: Content = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: msgspec.Raw = _MISSING


class ResponsesHead(msgspec.Struct, gc=False):
    """What stands beside the input in the body of `POST /v1/responses`."""

    instructions: str | None = None
    previous_response_id: str | None = None
    tools: msgspec.Raw = _MISSING
    cache_salt: str | None = None


class ResponsesBody(ResponsesHead, kw_only=True, gc=False):
    """The body of `POST /v1/responses`."""

    input: str | list[Item]


class TextHead(msgspec.Struct, gc=False):
    """What stands beside the prompt in the body of `POST /v1/completions`."""

    cache_salt: str | None = None


class TextBody(TextHead, kw_only=True, gc=False):
    """The body of `POST /v1/completions`."""

    prompt: msgspec.Raw


class EmbeddingBody(msgspec.Struct, gc=False):
    """The body of `POST /v1/embeddings`."""

    input: msgspec.Raw = _MISSING
    messages: list[PromptMessage] | None = None
    cache_salt: str | None = None


class PairsBody(msgspec.Struct, gc=False):
    """The body of `POST /rerank` and `POST /score`: each text of one field is read with each of the other.

    vLLM names the fields of scores in four ways.
    """

    query: msgspec.Raw = _MISSING
    queries: msgspec.Raw = _MISSING
    text_1: msgspec.Raw = _MISSING
    data_1: msgspec.Raw = _MISSING
    documents: msgspec.Raw = _MISSING
    items: msgspec.Raw = _MISSING
    text_2: msgspec.Raw = _MISSING
    data_2: msgspec.Raw = _MISSING
