"""Passes a replica's answer on to the client, and keeps what is needed to count its tokens and to continue it."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from router.estimator.expectation import Usage
from router.http.api.resume import RESUMABLE_PATHS, ResumedStream, continuation_body
from router.http.api.sent_text import ABORT, ERROR, FOLD_EVENTS, SentText
from router.http.api.usage import read_answer, read_counts
from router.http.early_answer import COMMENT, EarlyAnswer
from router.http.wire.chunked import LAST_CHUNK, chunk
from router.http.wire.connection_reset import reset
from router.http.wire.incoming import IncomingRequest
from router.http.wire.response_head import CHUNKED, UNTIL_CLOSE, ResponseHead
from router.http.wire.responses import connection_lines, error_event
from router.http.wire.unchunk import Unchunk
from router.http.wire.upstream import Sink
from router.outcome import Outcome
from router.request import RoutingRequest

NOT_BUFFERED = b"x-accel-buffering: no\r\n"
"""Header line that has nginx, in front of the gateway, pass a stream's events on as they come."""
MAX_KEPT_ANSWER = 64 * 1024
"""Bytes of an answer that are kept to read its usage from: no answer known to be longer, and the end of all others."""


class RelayedAnswer:
    """One answer, from its head to its end; it comes from several replicas if one continues another's stream.

    Args:
        transport: the client's transport.
        incoming: the request as it came.
        request: the same request, as routing sees it.

    Attributes:
        head: the first replica's head; None: nothing has been sent yet.
        keep_alive: the client's connection stays open after the answer.
    """

    __slots__ = (
        "_early",
        "_incoming",
        "_kept",
        "_request",
        "_resumed",
        "_sent",
        "_transport",
        "_write",
        "head",
        "keep_alive",
    )

    def __init__(self, transport: asyncio.Transport, incoming: IncomingRequest, request: RoutingRequest) -> None:
        self._transport = transport
        self._write: Callable[[bytes], object] = transport.write
        self._incoming = incoming
        self._request = request
        self._kept: list[bytes] = []
        self._early: EarlyAnswer | None = None
        self._sent: SentText | None = None
        self._resumed: ResumedStream | None = None
        self.head: ResponseHead | None = None
        self.keep_alive = incoming.keep_alive

    @property
    def is_resumed(self) -> bool:
        """Whether another replica continues the stream."""
        return self._resumed is not None

    def begin(self, head: ResponseHead, body: bytes, own_headers: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Send the head and the first bytes of the body.

        Args:
            head: the replica's head.
            body: the bytes of the body that came with it.
            own_headers: header lines that the gateway adds.
            gave_up: called when the engine says in a stream that it gives up; returns whether another replica
                continues the stream.

        Returns:
            The function that takes the rest of the body.
        """
        self.head = head
        if self._early is not None:
            self._write = self._early.sink(head)
            self._write(body)
            return self._sink_for(head, body, gave_up)
        if head.is_events:
            own_headers += NOT_BUFFERED
        if self._incoming.http_1_0:
            self._begin_http_1_0(head, own_headers)
            self._write(body)
        else:
            if head.length == UNTIL_CLOSE:
                self.keep_alive = False
            connection = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
            self._transport.write(b"".join((head.lines, own_headers, connection, body)))
        return self._sink_for(head, body, gave_up)

    def _begin_http_1_0(self, head: ResponseHead, own_headers: bytes) -> None:
        """Send the head to a client that knows no chunks: it gets their contents, until the connection closes."""
        if head.length < 0:
            self.keep_alive = False
        if head.length == CHUNKED:
            self._write = Unchunk(self._transport.write).write
        connection = connection_lines(keep_alive=self.keep_alive, http_1_0=True)
        self._transport.write(b"".join((head.unframed_lines(), own_headers, connection, b"\r\n")))

    def _sink_for(self, head: ResponseHead, body: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Return the function that sends the body to the client and keeps what is needed of it."""
        write = self._write
        request = self._request
        if request.stream and head.length == CHUNKED and request.path in RESUMABLE_PATHS and head.is_events:
            return self._stream_sink(body, gave_up)
        if head.length > MAX_KEPT_ANSWER:
            return write
        keep = self._kept.append
        keep(body)

        def write_and_keep(data: bytes) -> None:
            write(data)
            keep(data)

        return write_and_keep

    def _stream_sink(self, body: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Return the function that takes a stream which another replica may have to continue."""
        write = self._write
        sent = self._sent = SentText()
        keep = sent.keep
        keep(body)

        def write_and_keep(data: bytes) -> None:
            if (ERROR in data or ABORT in data) and (whole := sent.before_giving_up(data)) is not None:
                if whole:
                    write(whole)
                    keep(whole)
                if gave_up():
                    return
                data = data[len(whole) :]
            write(data)
            keep(data)

        return write_and_keep

    def complete(self) -> None:
        """Send what the client's answer still lacks, as the last replica's answer is complete."""
        if self._resumed is not None:
            self._write(LAST_CHUNK)
        elif self._early is not None and self.head is not None:
            self._early.complete(self.head)

    def break_off(self, outcome: Outcome, message: str, *, whole: bool) -> None:
        """Send an error event if the answer is a stream, as it cannot be completed.

        Args:
            outcome: the error's `code`.
            message: what happened, for the client.
            whole: what was sent ends with a whole chunk; else nothing can be added.
        """
        head = self.head
        if head is None:
            return
        if whole and head.is_events:
            self._write(chunk(error_event(outcome, message)) + LAST_CHUNK)
        elif self._early is not None and not head.is_events:
            self._early.refuse(outcome, message)
        elif head.length == UNTIL_CLOSE or self._incoming.http_1_0:
            reset(self._transport)

    # --- waiting

    @property
    def is_early(self) -> bool:
        """Whether the gateway began the answer, and no replica has answered yet."""
        return self._early is not None and self.head is None

    def beat(self, own_headers: bytes) -> None:
        """Tell the client by a comment that it still waits for the stream's first bytes; begin the answer if need be.

        Args:
            own_headers: header lines that the gateway adds.
        """
        head = self.head
        if self._early is not None:
            self._early.beat()
        elif head is None:
            self.keep_alive &= not self._incoming.http_1_0
            request_id = self._request.request_id.encode()
            self._early = EarlyAnswer(
                self._transport, self._incoming, request_id, own_headers, keep_alive=self.keep_alive
            )
        elif head.is_events and head.length == CHUNKED:
            self._write(chunk(COMMENT))
        elif head.is_events and head.length == UNTIL_CLOSE:
            self._write(COMMENT)

    def refuse_early(self, outcome: Outcome, message: str) -> None:
        """End an answer that the gateway began, as no replica will answer."""
        if self._early is not None:
            self._early.refuse(outcome, message)

    # --- streams that another replica continues

    def resume(self) -> bytes | None:
        """Return the request body that has another replica continue the stream.

        Returns:
            b"": all of the text was sent, and the stream has been ended here. None: the stream cannot be continued.
        """
        sent = self._sent
        if sent is None:
            return None
        sent.fold()
        if sent.finished:
            # All of the text was sent; only the stream's end is missing.
            self._write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
            return b""
        body = continuation_body(self._request.path, self._incoming.body, sent)
        if body is not None:
            self._resumed = ResumedStream(sent)
        return body

    def go_on(self, head: ResponseHead, body: bytes, gave_up: Callable[[], bool]) -> Sink | None:
        """Take the answer of the replica that continues the stream; its events are passed on, its head is not.

        Args:
            head: the replica's head.
            body: the bytes of the body that came with it.
            gave_up: as for `begin`.

        Returns:
            The function that takes the rest of the body; None: the answer is no stream that continues this one.
        """
        resumed = self._resumed
        if resumed is None or head.status != HTTPStatus.OK or head.length != CHUNKED:
            return None
        write = self._write

        def write_rest(data: bytes) -> None:
            rest = resumed.feed(data)
            if rest:
                write(rest)
            if resumed.gave_up is not None and not gave_up():
                write(chunk(resumed.gave_up))
                resumed.gave_up = None

        write_rest(body)
        return write_rest

    def fold(self) -> None:
        """Bound the memory of what is kept: the text of a stream that can be resumed, the end of any other answer."""
        if self._sent is not None:
            self._sent.fold_if_long()
        elif len(self._kept) > FOLD_EVENTS:
            self._kept[:] = [b"".join(self._kept)[-MAX_KEPT_ANSWER:]]

    # --- tokens

    def usage(self, *, with_reply: bool) -> tuple[Usage, bytes]:
        """Return the tokens that a complete answer reports, and the text that the next turn of a chat will contain.

        Args:
            with_reply: that text is wanted; else it is b"". It is b"", too, for a resumed stream.
        """
        if self._resumed is not None:
            return Usage(), b""
        if with_reply:
            return read_answer(self._request.path, self._sent, self._kept)
        return read_counts(self._sent, self._kept), b""

    def tokens_sent(self) -> int | None:
        """Return about how many tokens of a stream were sent; None: the answer is no stream whose events are read."""
        return self._sent.tokens_about() if self._sent is not None else None
