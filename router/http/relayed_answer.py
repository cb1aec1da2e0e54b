"""A replica's answer on its way to the client: its head made ours, its bytes passed on, and what is kept of them."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from router.estimator.expectation import Usage
from router.http.api.resume import RESUMABLE_PATHS, ResumedStream, continuation_body
from router.http.api.sent_text import ABORT, ERROR, FOLD_EVENTS, SentText
from router.http.api.usage import read_answer, read_counts
from router.http.wire.chunked import LAST_CHUNK, chunk, payload
from router.http.wire.incoming import IncomingRequest
from router.http.wire.response_head import CHUNKED, UNTIL_CLOSE, ResponseHead
from router.http.wire.responses import error_event
from router.http.wire.upstream import Sink
from router.outcome import Outcome
from router.request import RoutingRequest

MAX_KEPT_ANSWER = 64 * 1024
"""Longer answers that are not streamed are not kept to read their usage from."""


class RelayedAnswer:
    """One answer, from its head to its end; over several replicas where one goes on with another's stream.

    Args:
        transport: the client's.
        incoming: the request as it came.
        request: the same, as routing sees it.

    Attributes:
        head: the first replica's; None: nothing has been sent yet.
        keep_alive: the client's connection stays open afterwards.
    """

    __slots__ = (
        "_collected",
        "_incoming",
        "_kept",
        "_own_headers",
        "_request",
        "_resumed",
        "_sent",
        "_transport",
        "head",
        "keep_alive",
    )

    def __init__(self, transport: asyncio.Transport, incoming: IncomingRequest, request: RoutingRequest) -> None:
        self._transport = transport
        self._incoming = incoming
        self._request = request
        self._collected: list[bytes] | None = None
        self._kept: list[bytes] = []
        self._own_headers = b""
        self._sent: SentText | None = None
        self._resumed: ResumedStream | None = None
        self.head: ResponseHead | None = None
        self.keep_alive = incoming.keep_alive

    @property
    def is_resumed(self) -> bool:
        """Another replica goes on with the stream."""
        return self._resumed is not None

    def begin(self, head: ResponseHead, body: bytes, own_headers: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Send the head and what came of the body with it.

        Args:
            head: the replica's.
            body: what came with it.
            own_headers: header lines the gateway adds.
            gave_up: called where the engine says within a stream that it cannot go on; returns whether another will.

        Returns:
            Where the rest of the body goes.
        """
        self.head = head
        self._own_headers = own_headers
        if self._incoming.http_1_0 and head.length == CHUNKED:
            self._collected = [body]
            return self._collected.append
        if head.length == UNTIL_CLOSE:
            self.keep_alive = False
        connection = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self._transport.write(b"".join((head.lines, own_headers, connection, body)))
        return self._sink_for(head, body, gave_up)

    def _sink_for(self, head: ResponseHead, body: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Return where the body goes: to the client, and beside it to whom it is kept for."""
        write = self._transport.write
        request = self._request
        if request.stream and head.length == CHUNKED and request.path in RESUMABLE_PATHS and _is_events(head):
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
        """Return where a stream goes that another replica may go on with."""
        write = self._transport.write
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
        """The last replica's answer is complete: send what of the client's is missing."""
        if self._resumed is not None:
            self._transport.write(LAST_CHUNK)
        elif self._collected is not None and self.head is not None:
            body = payload(b"".join(self._collected))
            lines = self.head.lines.lower().replace(b"transfer-encoding: chunked\r\n", b"")
            self.keep_alive = False
            self._transport.write(
                b"%s%scontent-length: %d\r\nconnection: close\r\n\r\n%s" % (lines, self._own_headers, len(body), body)
            )

    def break_off(self, outcome: Outcome, message: str, *, whole: bool) -> None:
        """Say in a stream that it cannot be completed; `whole`: what was sent ends with a whole chunk."""
        if whole and self._collected is None and self.head is not None and _is_events(self.head):
            self._transport.write(chunk(error_event(outcome, message)) + LAST_CHUNK)

    # --- going on elsewhere

    def resume(self) -> bytes | None:
        """Return the body that asks another replica to go on; b"": all has been sent; None: that cannot be asked."""
        sent = self._sent
        if sent is None:
            return None
        sent.fold()
        if sent.finished:
            # All the text is there; only the stream's own end is missing.
            self._transport.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
            return b""
        body = continuation_body(self._request.path, self._incoming.body, sent)
        if body is not None:
            self._resumed = ResumedStream(sent)
        return body

    def go_on(self, head: ResponseHead, body: bytes, gave_up: Callable[[], bool]) -> Sink | None:
        """The replica that goes on answers: its events follow, its head does not; None: it does not go on."""
        resumed = self._resumed
        if resumed is None or head.status != HTTPStatus.OK or head.length != CHUNKED:
            return None
        write = self._transport.write

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
        """Bound what is kept; called now and then. Of a stream that can be resumed its text is kept, else its end."""
        if self._sent is not None:
            self._sent.fold_if_long()
        elif len(self._kept) > FOLD_EVENTS:
            self._kept[:] = [b"".join(self._kept)[-MAX_KEPT_ANSWER:]]

    # --- what it cost

    def usage(self, *, with_reply: bool) -> tuple[Usage, bytes]:
        """Return what a whole answer says of its tokens and, if wanted, the piece the next turn will hold of it."""
        if self._resumed is not None:
            return Usage(), b""
        if with_reply:
            return read_answer(self._request.path, self._sent, self._kept)
        return read_counts(self._sent, self._kept), b""

    def tokens_sent(self) -> int | None:
        """Return how many tokens the client has got of a stream, about; None: it is no stream that is read."""
        return self._sent.tokens_about() if self._sent is not None else None


def _is_events(head: ResponseHead) -> bool:
    return b"text/event-stream" in head.lines.lower()
