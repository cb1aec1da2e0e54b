"""The text that a client has been sent of a streamed answer, kept so that another replica can continue it."""

from typing import Final

from router.estimator.expectation import Usage
from router.http.api.answers.server_sent_events import DONE, data_of, ends_event, split_events
from router.http.api.answers.stream_event import StreamEvent, read_event
from router.http.api.answers.usage import KEY, UNKNOWN, counted, last_usage_of_stream
from router.http.wire.chunked import payload, whole_chunks

FOLD_EVENTS: Final = 256
"""Reads kept as they came; above this they are folded into their text, which bounds a stream's memory."""
MAX_TAIL: Final = 16 * 1024
"""Bytes kept of the end of a stream that cannot be continued; also those in which its last usage is looked for."""


class SentText:
    """The text of a stream so far.

    `keep` is on the hot path and only appends. Events are read when many are kept, or when the text is needed.

    Attributes:
        keep: appends framed bytes that were sent to the client, with the usage that was hidden from it.
        text: the generated text up to the last `fold`.
        tokens: tokens of that text, as the engine told last; where it tells none, one for each event with text.
        told: the usage that the engine told last, up to the last `fold`; unknown: it told none.
        first: the first event of the stream; the events that another replica adds are made like it. None: none came.
        finished: an event had a `finish_reason`.
        usage_sent: the last usage came, in an event without choices.
        resumable: the answer is text alone, with no tool calls, reasoning, log-probabilities or second choice, so it
            can be continued from its text.
    """

    __slots__ = (
        "_event",
        "_kept",
        "finished",
        "first",
        "keep",
        "resumable",
        "text",
        "tokens",
        "told",
        "usage_sent",
    )

    def __init__(self) -> None:
        self.text = ""
        self.tokens = 0
        self.told = UNKNOWN
        self.first: StreamEvent | None = None
        self.finished = False
        self.usage_sent = False
        self.resumable = True
        self._event = b""
        self._kept: list[bytes] = []
        self.keep = self._kept.append

    def fold_if_long(self) -> None:
        """Fold if over `FOLD_EVENTS` reads are kept; regular calls bound a stream's memory."""
        if len(self._kept) > FOLD_EVENTS:
            self.fold()

    def rest(self) -> bytes:
        """Return the kept bytes that are not folded yet, framed."""
        return b"".join(self._kept)

    def fold(self) -> None:
        """Read the kept events into `text`; an incomplete last one stays kept."""
        framed = b"".join(self._kept)
        if self.resumable:
            whole = whole_chunks(framed)
            events, self._event = split_events(self._event + payload(framed[:whole]))
            self._kept[:] = [framed[whole:]]
            for event in events:
                self.add_event(event)
        if not self.resumable:
            self._kept[:] = [framed[-MAX_TAIL:]]

    @property
    def within_event(self) -> bool:
        """Whether what was sent ends within an event or chunk, so that nothing can follow; call `fold` before."""
        if not self.resumable:
            return not ends_event(self.rest(), chunked=True)
        return any(self._kept) or bool(self._event)

    def add_event(self, event: bytes) -> None:
        """Add one whole event, given without the empty line that ends it."""
        data = data_of(event)
        if not data or data == DONE:
            return
        read = read_event(data)
        if read is None or read.error is not None or read.choices is None:
            self.resumable = False  # an error, in whatever shape, or nothing that is known
            return
        if self.first is None:
            self.first = read
        choices = read.choices
        for choice in choices:
            self.resumable = self.resumable and choice.is_text_alone
            self.finished = self.finished or choice.finish_reason is not None
            piece = choice.piece
            if piece:
                self.text += piece
                self.tokens += 1
        told = counted(read.usage)
        if told.completion_tokens is not None:
            self.told = told
            self.tokens = told.completion_tokens
            self.usage_sent = not choices

    def usage(self, *, is_asked: bool = True) -> Usage:
        """Return the usage that the engine told last, without reading events; unknown: it told none.

        Args:
            is_asked: the engine was asked for it. Else it is not looked for where it cannot be seen at once.
        """
        tail = self.rest()[-MAX_TAIL:]
        found = last_usage_of_stream(tail, depth=1) if is_asked or KEY in tail else None
        if found is not None:
            return counted(found)
        told = self.told
        return told if told is UNKNOWN else Usage(told.prompt_tokens, told.cached_tokens, self.tokens)

    def usage_about(self) -> Usage:
        """Return the usage so far, without reading events.

        Where the engine tells none, the tokens of the answer are one for each event but the first and the last.
        """
        told = self.usage()
        if told.completion_tokens is not None:
            return told
        return Usage(None, None, max(0, self.tokens + self.rest().count(b"data: {") - 2))
