"""One event of a streamed chat or completion: the fields that tell what an answer's text is and how it ends."""

from http import HTTPStatus
from typing import Any

import msgspec

from router.http.api.answers.server_sent_events import data_of

ERROR, ABORT = b'"error', b'"abort'
"""One of these occurs in every event in which an engine gives up, and seldom in others. Without the closing quote, a
frequent byte in JSON, they are found a third faster."""

_MISSING = msgspec.Raw(b"")
_EMPTY = (b"", b"null", b"[]", b"{}")


class Delta(msgspec.Struct, gc=False):
    """What an event adds to a chat's message."""

    content: str | None = None
    tool_calls: msgspec.Raw = _MISSING
    function_call: msgspec.Raw = _MISSING
    reasoning: str | None = None
    reasoning_content: str | None = None


class StreamChoice(msgspec.Struct, gc=False):
    """What an event adds to one choice; `text` is a completion's."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = _MISSING

    @property
    def piece(self) -> str:
        """The text that it adds."""
        return (self.delta.content if self.delta is not None else None) or self.text or ""

    @property
    def reasoning(self) -> str:
        """The reasoning that it adds; vLLM calls it `reasoning`, others and older releases `reasoning_content`."""
        delta = self.delta
        return (delta.reasoning or delta.reasoning_content or "") if delta is not None else ""

    @property
    def reasoning_name(self) -> str:
        """The name of the field that holds its reasoning."""
        return "reasoning" if self.delta is not None and self.delta.reasoning else "reasoning_content"

    @property
    def is_text_alone(self) -> bool:
        """Whether it adds nothing but text and reasoning to the first choice: another replica can go on from these."""
        delta = self.delta or Delta()
        extras = _present(delta.tool_calls) or _present(delta.function_call) or _present(self.logprobs)
        return not (self.index or extras)


class StreamError(msgspec.Struct, gc=False):
    """An error that an engine tells within a stream."""

    code: Any = None


class StreamEvent(msgspec.Struct, gc=False):
    """One event. `usage` is what the engine has counted up to this event; Groq tells it in `x_groq`."""

    id: str | None = None
    object: str | None = None
    created: int | float | None = None
    model: str | None = None
    choices: list[StreamChoice] | None = None
    error: StreamError | None = None
    usage: Any = None
    x_groq: Any = None


_decoder = msgspec.json.Decoder(StreamEvent)


def _present(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in _EMPTY


def read_event(data: bytes) -> StreamEvent | None:
    """Read the data of an event; None: it is no event of a chat or completion."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def gives_up(event: bytes) -> bool:
    """Tell whether an engine gives up in a whole event, for a reason that another replica may not have.

    It does so with the finish reason `abort`, or with an error whose `code` is an integer of at least 500. All other
    errors are the request's own, those with a text or nothing as `code` too: they would come again elsewhere.
    """
    if ERROR not in event and ABORT not in event:
        return False
    read = read_event(data_of(event))
    if read is None:
        return False
    if read.error is not None:
        code = read.error.code
        return isinstance(code, int) and code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return any(choice.finish_reason == "abort" for choice in read.choices or ())


def told_in(event: StreamEvent) -> Any:  # noqa: ANN401 - JSON
    """Return the usage that an event tells; None: none."""
    return event.usage or (event.x_groq.get("usage") if isinstance(event.x_groq, dict) else None)
