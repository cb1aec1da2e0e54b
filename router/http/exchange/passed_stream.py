"""Passes a stream on that another replica may have to continue: finds where its engine gives up, hides told usage."""

from collections.abc import Callable
from typing import Final

from router.http.api.answers.sent_text import SentText
from router.http.api.answers.server_sent_events import EVENT_END, split_events
from router.http.api.answers.stream_event import ABORT, ERROR, gives_up
from router.http.api.answers.told_usage import hidden, hidden_in_read
from router.http.wire.chunked import chunk, chunks
from router.http.wire.upstream.receiver import Sink

MAX_HELD: Final = 64 * 1024
"""Bytes of an incomplete event up to which it is held back until it is seen whether the engine gives up in it."""


class PassedStream:
    """A stream of events on its way to the client.

    A read that is ordinary is passed on as it came, but for hidden usage. Only a read that may hold an event in which
    the engine gives up, or that is not one whole event where usage is hidden, is looked at event by event.

    Args:
        write: sends bytes to the client.
        sent: keeps what is sent, as it came.
        gave_up: called when the engine gives up; returns whether another replica continues the stream.
        hides: usage that the client did not ask for is told with each event, and hidden.
        with_last: the client asked for the usage in the last event.
    """

    __slots__ = ("_gave_up", "_held", "_hides", "_is_raw", "_sent", "_with_last", "_write")

    def __init__(
        self,
        write: Callable[[bytes], object],
        sent: SentText,
        gave_up: Callable[[], bool],
        *,
        hides: bool,
        with_last: bool,
    ) -> None:
        self._write = write
        self._sent = sent
        self._gave_up = gave_up
        self._hides = hides
        self._with_last = with_last
        self._held: list[bytes] = []
        self._is_raw = False

    def begin(self, head: bytes, data: bytes) -> Sink:
        """Send the answer's head and what has come of the stream, by one write unless that must be looked at.

        Args:
            head: the head, as the client gets it; b"": it has been sent.
            data: the stream's first bytes; b"": none have come.

        Returns:
            The function that takes the rest. It is not kept here: the two would hold each other in memory.
        """
        shown = self._ordinary(data) if data else b""
        if head or shown:
            self._write(head + (shown or b""))
        if shown is None:
            self._look_at(data)
        elif data:
            self._sent.keep(data)
        return self._hiding_sink() if self._hides else self._plain_sink()

    def _ordinary(self, data: bytes) -> bytes | None:
        """Return what the client is shown of an ordinary read; None: it is none."""
        if self._hides:
            return hidden_in_read(data, with_last=self._with_last)
        return None if ERROR in data or ABORT in data else data

    def _plain_sink(self) -> Sink:
        write, keep, held, look_at = self._write, self._sent.keep, self._held, self._look_at

        def pass_on(data: bytes) -> None:
            if ERROR in data or ABORT in data or held:
                look_at(data)
            else:
                write(data)
                keep(data)

        return pass_on

    def _hiding_sink(self) -> Sink:
        write, keep, held, look_at = self._write, self._sent.keep, self._held, self._look_at
        with_last = self._with_last

        def pass_on(data: bytes) -> None:
            shown = hidden_in_read(data, with_last=with_last)
            if shown is None or held:
                look_at(data)
            else:
                write(shown)
                keep(data)

        return pass_on

    def flush(self) -> None:
        """Send what is held back, as no more will come."""
        held = b"".join(self._held)
        self._held.clear()
        if held:
            self._pass(held)

    def _look_at(self, data: bytes) -> None:
        """Pass a read on, up to the event in which the engine gives up; hold an incomplete event back."""
        data = b"".join((*self._held, data))
        self._held.clear()
        if self._is_raw or not (self._hides or self._is_between_events()):
            self._pass(data)  # an event's start was sent, so its rest must follow
            return
        events: list[bytes] = []
        event_start, end = b"", 0
        for chunk_end, text in chunks(data):
            end = chunk_end
            found, event_start = split_events(event_start + text)
            events += found
        rest = (chunk(event_start) if event_start else b"") + data[end:]
        for number, event in enumerate(events):
            if gives_up(event):
                self._pass_events(events[:number])
                if not self._gave_up():
                    self._pass_events(events[number:])
                    self._pass_or_hold(rest)
                return
        self._pass_events(events)
        self._pass_or_hold(rest)

    def _is_between_events(self) -> bool:
        self._sent.fold()
        return not self._sent.within_event

    def _pass_events(self, events: list[bytes]) -> None:
        text = b"".join([event + EVENT_END for event in events])
        if not text:
            return
        self._sent.keep(chunk(text))
        shown = hidden(text, with_last=self._with_last) if self._hides else text
        if shown:
            self._write(chunk(shown))

    def _pass_or_hold(self, rest: bytes) -> None:
        """Hold an incomplete event back if it may be one to act on, and is not too long."""
        if not rest:
            return
        if not (self._hides or ERROR in rest or ABORT in rest):
            self._pass(rest)
        elif len(rest) <= MAX_HELD:
            self._held.append(rest)
        else:
            self._is_raw = True
            self._pass(rest)

    def _pass(self, data: bytes) -> None:
        self._write(data)
        self._sent.keep(data)
