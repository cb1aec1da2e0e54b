"""Reads one streamed answer as it comes: when its tokens came, its text, its usage."""

from array import array
from typing import Any, Final

import msgspec

from router.http.api.answers.server_sent_events import DONE, data_of, split_events
from router.http.api.answers.usage import UNKNOWN, counted

_HTTP_OK: Final = 200
_SHOWN: Final = 300
"""Bytes of a refusal that are kept."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None
    error: Any = None


_EVENT: Final = msgspec.json.Decoder(_Event)


class StreamedAnswer:
    """One answer, of `/v1/chat/completions` or `/v1/completions`.

    An event counts as tokens if it has text, reasoning or a tool call: the event with the role alone does not.

    Attributes:
        status: HTTP status; 0: none came.
        times_s: when each event with tokens was read (`time.perf_counter`).
        parts: the answer's text.
        usage: what the endpoint says of its tokens.
        finish_reason: why it ended; "": it did not say.
        problem: what was wrong with it; "": nothing.
        is_done: the stream's end mark came.
    """

    __slots__ = ("_rest", "_started", "finish_reason", "is_done", "parts", "problem", "status", "times_s", "usage")

    def __init__(self, started: Any = None) -> None:  # noqa: ANN401 - a callable without arguments, or None
        self.status = 0
        self.times_s = array("d")
        self.parts: list[str] = []
        self.usage = UNKNOWN
        self.finish_reason = ""
        self.problem = ""
        self.is_done = False
        self._rest = b""
        self._started = started

    @property
    def text(self) -> str:
        """The answer's text, without its reasoning."""
        return "".join(self.parts)

    def status_received(self, status: int) -> None:
        """Take its status."""
        self.status = status

    def body_received(self, body: bytes, at_s: float) -> None:
        """Take a piece of its body."""
        if self.status != _HTTP_OK:
            self._rest = (self._rest + body)[:_SHOWN]
            return
        events, self._rest = split_events(self._rest + body if self._rest else body)
        for event in events:
            data = data_of(event)
            if data == DONE:
                self.is_done = True
            elif data:
                self._take(data, at_s)

    def _take(self, data: bytes, at_s: float) -> None:
        try:
            event = _EVENT.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.problem = self.problem or f"an event is no answer: {error}"
            return
        if event.error is not None:
            self.problem = f"the answer broke off: {event.error}"[:_SHOWN]
        if event.usage is not None:
            self.usage = counted(event.usage)
        for choice in event.choices:
            delta = choice.delta
            text = choice.text if delta is None else delta.content
            if text:
                self.parts.append(text)
            if text or (delta is not None and (delta.reasoning_content or delta.reasoning or delta.tool_calls)):
                self.times_s.append(at_s)
                if len(self.times_s) == 1 and self._started is not None:
                    self._started()
            self.finish_reason = choice.finish_reason or self.finish_reason

    def refusal(self) -> str:
        """Return why it is no answer; "": it is one, and whole."""
        if self.status != _HTTP_OK:
            return f"HTTP {self.status}: {self._rest.decode(errors='replace')}"
        if self.problem:
            return self.problem
        if not self.times_s:
            return "an answer without tokens"
        return "" if self.is_done or self.finish_reason else "the answer was cut"
