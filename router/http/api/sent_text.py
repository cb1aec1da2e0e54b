"""The text that a client has been sent of a streamed answer, kept so that another replica can continue it."""

from http import HTTPStatus
from typing import Any

import msgspec

from router.http.wire.chunked import payload, whole_chunks

FOLD_EVENTS = 256
"""Reads kept as they came; above this they are folded into their text, which bounds a stream's memory."""

EVENT_END = b"\n\n"
ERROR, ABORT = b'"error"', b'"abort"'
"""One of these occurs in every event in which an engine gives up, and never in text, whose quotes are escaped."""
DONE = b"[DONE]"
"""Data of the event that ends a stream."""


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    tool_calls: msgspec.Raw | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _StreamChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw | None = None


class _Error(msgspec.Struct, gc=False):
    code: int | str | None = None


class _StreamEvent(msgspec.Struct, gc=False):
    id: str = ""
    created: int = 0
    choices: list[_StreamChoice] = []
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_StreamEvent)
_NULL = b"null"


class SentText:
    """The text of a stream so far.

    `keep` is on the hot path and only appends. Events are read when many are kept, or when the text is needed.

    Attributes:
        keep: appends framed bytes that were sent to the client.
        text: the generated text up to the last `fold`.
        tokens: number of events with text; equals the tokens unless the engine put several into one event.
        event_id: the `id` of every event of the stream, or "".
        created: the `created` time of every event of the stream, in Unix seconds, or 0.
        finished: an event had a `finish_reason`.
        resumable: the answer is text alone, with no tool calls, reasoning, log-probabilities or second choice, so it
            can be continued from its text.
    """

    __slots__ = ("_kept", "created", "event_id", "finished", "keep", "resumable", "text", "tokens")

    def __init__(self) -> None:
        self.text = ""
        self.tokens = 0
        self.event_id = ""
        self.created = 0
        self.finished = False
        self.resumable = True
        self._kept: list[bytes] = []
        self.keep = self._kept.append

    def fold_if_long(self) -> None:
        """Fold if over `FOLD_EVENTS` reads are kept; regular calls bound a stream's memory."""
        if len(self._kept) > FOLD_EVENTS:
            self.fold()

    def rest(self) -> bytes:
        """Return the kept bytes that are not folded yet, framed."""
        return b"".join(self._kept)

    def before_giving_up(self, data: bytes) -> bytes | None:
        """Return the newly read bytes before the event in which the engine gives up; None: there is no such event.

        The engine gives up with an error that is not the request's fault, or with the finish reason `abort`. The event
        is looked for only in whole chunks of one event each, as engines write them.
        """
        self.fold()
        if not self.resumable or any(self._kept):
            return None
        whole = 0
        while (end := whole_chunks(data[whole:], at_most=1)) > 0:
            event = payload(data[whole : whole + end])
            if event.endswith(EVENT_END) and gives_up(event.removesuffix(EVENT_END)):
                return data[:whole]
            whole += end
        return None

    def tokens_about(self) -> int:
        """Estimate how many tokens were sent, without reading events: one for each but the first and the last event."""
        return max(0, self.tokens + self.rest().count(b"data: {") - 2)

    def fold(self) -> None:
        """Read the kept events into `text`; an incomplete last one stays kept."""
        if not self.resumable:
            self._kept.clear()
            return
        framed = b"".join(self._kept)
        whole = whole_chunks(framed)
        self._kept[:] = [framed[whole:]]
        events = payload(framed[:whole])
        if events and not events.endswith(EVENT_END):
            self.resumable = False  # an event cut across two chunks: no engine we know does that
            return
        for event in events.split(EVENT_END)[:-1]:
            self.add_event(event)

    def add_event(self, event: bytes) -> None:
        """Add one whole event, given without the empty line that ends it."""
        data = event.removeprefix(b"data:").strip()
        if data == DONE or not event.startswith(b"data:"):
            return
        try:
            decoded = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.resumable = False
            return
        self.event_id = self.event_id or decoded.id
        self.created = self.created or decoded.created
        for choice in decoded.choices:
            self._add_choice(choice)

    def _add_choice(self, choice: _StreamChoice) -> None:
        delta = choice.delta or _Delta()
        extras: tuple[Any, ...] = (delta.reasoning, delta.reasoning_content, _present(delta.tool_calls))
        if choice.index or any(extras) or _present(choice.logprobs):
            self.resumable = False
        piece = delta.content or choice.text
        if piece:
            self.text += piece
            self.tokens += 1
        self.finished = self.finished or choice.finish_reason is not None


def _present(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(raw) not in (_NULL, b"[]")


def gives_up(event: bytes) -> bool:
    """Tell whether an engine gives up in an event, for a reason that another replica may not have."""
    if not event.startswith(b"data:"):
        return False
    try:
        decoded = _decoder.decode(event.removeprefix(b"data:"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    if decoded.error is not None:
        code = decoded.error.code
        return not isinstance(code, int) or code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return any(choice.finish_reason == "abort" for choice in decoded.choices)
