"""The part of an answer that is kept to read its tokens and its text from, in bounded memory."""

from typing import Any, Final

from router.estimator.expectation import Usage
from router.http.api.answers.cut_usage import CutUsage
from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.api.answers.usage import UNKNOWN, Framing, counted_at_end, last_usage_of_stream, usage_in, usage_of
from router.http.wire.chunked import ChunkedError, payload
from router.http.wire.request.content_coding import ContentCodingError, decoded
from router.http.wire.request.incoming import BYTE_ORDER_MARK

WINDOW: Final = 64 * 1024
"""Bytes kept of an answer's start and of its end. A shorter answer is kept whole."""
FOLD_BYTES: Final = 4 * WINDOW
"""Bytes kept as they came, above which `keep_bounded` cuts them to the window."""
FOLD_READS: Final = 256
"""Reads kept as they came, above which `fold_if_long` does."""
MOST_DECODED: Final = 16 * WINDOW
"""Bytes up to which a compressed answer is decoded; zlib takes some milliseconds for them."""
_FIRST_EVENTS: Final = 4
"""Events in which a stream of `/v1/messages` tells its input tokens: `message_start` is the first but for a `ping`."""


class KeptAnswer:
    """An answer that is no stream which another replica could continue.

    Args:
        chunked: its bytes have chunk framing.
        streamed: it is a stream of events that can be read as they come.
        coding: its `content-encoding`; b"": it has none.

    Attributes:
        keep: appends bytes, for streams. It is on the hot path and only appends; call `fold_if_long` at times.
    """

    __slots__ = ("_bytes", "_chunked", "_coding", "_cut", "_head", "_reads", "_streamed", "keep")

    def __init__(self, *, chunked: bool, streamed: bool, coding: bytes = b"") -> None:
        self._chunked = chunked
        self._coding = coding
        self._streamed = streamed
        self._head: bytes | None = None
        self._cut: CutUsage | None = None
        self._reads: list[bytes] = []
        self._bytes = 0
        self.keep = self._reads.append

    def keep_bounded(self, data: bytes) -> None:
        """Append bytes of an answer that may come in large reads."""
        self._reads.append(data)
        self._bytes += len(data)
        if self._bytes > FOLD_BYTES:
            self._fold()

    def fold_if_long(self) -> None:
        """Cut what is kept to the window if it is over `FOLD_READS` reads; regular calls bound a stream's memory."""
        if len(self._reads) > FOLD_READS:
            self._fold()

    def _fold(self) -> None:
        kept = b"".join(self._reads)
        if len(kept) > WINDOW:
            if self._cut is None:
                self._head = kept[:WINDOW]
                self._cut = CutUsage(chunked=self._chunked, streamed=self._streamed)
            kept = self._cut.cut(kept, WINDOW)
        self._reads[:] = [kept]
        self._bytes = len(kept)

    def tail(self) -> bytes:
        """Return the bytes at the answer's end, as they were sent, at most about `FOLD_BYTES`."""
        return b"".join(self._reads)

    def whole(self) -> bytes | None:
        """Return the body without framing and coding; None: it is too long, or broken.

        A byte order mark is no part of the body.
        """
        if self._cut is not None:
            return None
        try:
            body = payload(self.tail()) if self._chunked else self.tail()
            if self._coding:
                body = decoded(body, self._coding, MOST_DECODED)
        except (ChunkedError, ContentCodingError):
            return None
        return body.removeprefix(BYTE_ORDER_MARK)

    def usage(self) -> Usage:
        """Return the answer's token counts, as far as it tells them."""
        if self._streamed:
            return self._stream_usage()
        if self._cut is not None:
            return counted_at_end(self._cut.last(self.tail()))
        body = self.whole()
        if body is None:
            return UNKNOWN
        found = usage_of(body)
        if found is UNKNOWN and body.lstrip()[:1] != b"{":  # events under another content type, as some servers send
            found = counted_at_end(last_usage_of_stream(body, Framing.NONE))
        return found

    def _unframed_head(self) -> bytes:
        head = self._head or self.tail()[:WINDOW]
        try:
            return payload(head) if self._chunked else head
        except ChunkedError:
            return b""

    def _stream_usage(self) -> Usage:
        """Return the counts of the last event that has any; what it lacks is in `message_start`, the first event.

        The last event of `/v1/messages` has the answer's tokens, and in some servers all of them. These counts only
        grow within a stream, so a 0 that follows a number says nothing.
        """
        tail = self.tail()
        last = last_usage_of_stream(tail, self._framing())
        if last is None and self._cut is not None:
            last = self._cut.last(tail)
        if last is None:
            return UNKNOWN
        if "output_tokens" in last and "input_tokens_details" not in last:
            first = self._first_message_usage()
            last = first | {name: value for name, value in last.items() if value or name not in first}
        return counted_at_end(last)

    def _framing(self) -> Framing:
        if not self._chunked:
            return Framing.NONE
        return Framing.WHOLE if self._cut is None else Framing.CUT

    def _first_message_usage(self) -> dict[str, Any]:
        for event in split_events(self._unframed_head())[0][:_FIRST_EVENTS]:
            found = usage_in(data_of(event))
            if found is not None:
                return found
        return {}
