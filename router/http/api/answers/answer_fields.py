"""What the gateway reads of an answer's JSON. msgspec makes these objects, so their classes cannot be compiled."""

from typing import Annotated, Any, Final

import msgspec

MOST: Final = 1 << 48
"""Counts above this are no counts."""
MISSING: Final = msgspec.Raw(b"")

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class Holder(msgspec.Struct, gc=False):
    """Where an answer or one event of it holds its usage: itself, in `response` (`/v1/responses`) or in `message`.

    Groq's streams have it in `x_groq`. `/v2/embed`, Cohere's, has what it bills in `meta`, as `billed_units`.
    """

    usage: msgspec.Raw = MISSING
    response: msgspec.Raw = MISSING
    message: msgspec.Raw = MISSING
    x_groq: msgspec.Raw = MISSING
    meta: msgspec.Raw = MISSING
    billed_units: msgspec.Raw = MISSING


class Details(msgspec.Struct, gc=False):
    """What a `usage` says of its prompt tokens."""

    cached_tokens: Count | None = None


class GeneratedDetails(msgspec.Struct, gc=False):
    """What a `usage` says of its generated tokens."""

    reasoning_tokens: Count | None = None


class PlainUsage(msgspec.Struct, gc=False):
    """The `usage` of chats and completions as nearly every engine writes it; decoded without a detour."""

    prompt_tokens: Count
    completion_tokens: Count | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: GeneratedDetails | None = None
    cache_read_input_tokens: Count | None = None


class PlainAnswer(msgspec.Struct, gc=False):
    """An answer of which only the usage is read."""

    usage: PlainUsage


class AnswerMessage(msgspec.Struct, gc=False):
    """What the model said."""

    content: Any = None


class AnswerChoice(msgspec.Struct, gc=False):
    """One of the answers in an answer."""

    message: AnswerMessage | None = None


class Chat(msgspec.Struct, gc=False):
    """A chat's answer of which only the text is read."""

    choices: list[AnswerChoice] = []


class PlainChat(msgspec.Struct, gc=False):
    """A chat's answer with usage and text, as nearly every engine writes it."""

    usage: PlainUsage
    choices: list[AnswerChoice] = []
