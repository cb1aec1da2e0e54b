"""Passes a replica's answer on to the client, and keeps what is needed to count its tokens and to continue it."""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from router.estimator.expectation import Usage
from router.http.api.answers.kept_answer import FOLD_BYTES, KeptAnswer
from router.http.api.answers.reply import stream_piece, usage_and_reply
from router.http.api.answers.resume import CHAT, COMPLETIONS, RESUMABLE_PATHS, continuation_body
from router.http.api.answers.resumed_stream import ResumedStream, ending, usage_asked
from router.http.api.answers.sent_text import SentText
from router.http.api.answers.server_sent_events import ends_event
from router.http.api.answers.stream_end import lacks_end
from router.http.api.answers.told_usage import MAX_BODY, asking
from router.http.api.errors import error_event
from router.http.exchange.early_answer import COMMENT, EarlyAnswer
from router.http.exchange.held_error import HeldError, is_held
from router.http.exchange.passed_stream import PassedStream
from router.http.wire.chunked import LAST_CHUNK, chunk
from router.http.wire.connection_reset import reset
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.response_head import CHUNKED, OK, UNTIL_CLOSE, ResponseHead
from router.http.wire.responses import connection_lines
from router.http.wire.unchunk import Unchunk
from router.http.wire.upstream.receiver import Sink
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest

NOT_BUFFERED: Final = b"x-accel-buffering: no\r\n"
"""Header line that has nginx, in front of the gateway, pass a stream's events on as they come."""
_SEQUENCE_NUMBER: Final = re.compile(rb'"sequence_number"\s*:\s*(\d+)')


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
        "_held_error",
        "_hides_usage",
        "_incoming",
        "_kept",
        "_passed",
        "_request",
        "_resumed",
        "_sent",
        "_transport",
        "_usage_asked",
        "_write",
        "head",
        "keep_alive",
    )

    def __init__(self, transport: asyncio.Transport, incoming: IncomingRequest, request: RoutingRequest) -> None:
        self._transport = transport
        self._write: Callable[[bytes], object] = transport.write
        self._incoming = incoming
        self._request = request
        self._usage_asked = usage_asked(request)
        self._hides_usage = False
        self._kept: KeptAnswer | None = None
        self._early: EarlyAnswer | None = None
        self._held_error: HeldError | None = None
        self._sent: SentText | None = None
        self._passed: PassedStream | None = None
        self._resumed: ResumedStream | None = None
        self.head: ResponseHead | None = None
        self.keep_alive = incoming.keep_alive

    @property
    def is_resumed(self) -> bool:
        """Whether another replica continues the stream."""
        return self._resumed is not None

    @property
    def needs_continuing(self) -> bool:
        """Whether the client has text that a further replica must continue."""
        return self._resumed is not None and self._sent is not None and bool(self._sent.text)

    @property
    def differs(self) -> bool:
        """Whether a replica repeated the text's end in other words, so that it must go on behind that."""
        return self._resumed is not None and self._resumed.differs

    def body_for(self, endpoint: Endpoint, body: bytes) -> bytes:
        """Return the body to send to a replica for a stream: if the stream could go on elsewhere, it tells its usage.

        It is asked for where tokens must be counted: the answer has a limit, or the client wants its usage.
        """
        request, asked = self._request, self._usage_asked
        self._hides_usage = False
        if not endpoint.continues_messages or request.path not in RESUMABLE_PATHS or asked.each:
            return body
        if request.max_tokens is None and not asked.last and request.path != COMPLETIONS:
            return body
        if len(body) > MAX_BODY or body.rstrip()[-1:] != b"}":
            return body
        self._hides_usage = True
        return asking(body)

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
            return self._join(self._early, head, body, gave_up)
        if head.is_events:
            own_headers += NOT_BUFFERED
        if head.length == UNTIL_CLOSE:
            self.keep_alive = False
        if self._incoming.http_1_0:
            lines, connection = self._begin_http_1_0(head)
        else:
            lines, connection = head.lines, b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        if self._may_go_on_elsewhere(head):
            first = b"".join((lines, own_headers, connection))
            if self._incoming.http_1_0:  # it is no part of what is taken out of its chunks
                self._transport.write(first)
                first = b""
            return self._stream_sink(first, body, gave_up)
        if head.status != OK and is_held(head, self._incoming.path):
            rest, request_id = own_headers + connection, self._request.request_id
            held = self._held_error = HeldError(self._transport.write, self._write, head, lines, rest, request_id)
            self._write = held.write
            self._write(body)
        elif self._incoming.http_1_0:
            self._transport.write(b"".join((lines, own_headers, connection)))
            self._write(body)
        else:
            self._transport.write(b"".join((lines, own_headers, connection, body)))
        return self._sink_for(head, body)

    def _may_go_on_elsewhere(self, head: ResponseHead) -> bool:
        request = self._request
        return request.stream and head.length == CHUNKED and request.path in RESUMABLE_PATHS and head.is_events

    def _join(self, early: EarlyAnswer, head: ResponseHead, body: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Return the function that sends the body into the answer that the gateway has begun."""
        self._write = early.sink(head)
        if self._may_go_on_elsewhere(head) and not early.holds_error:
            return self._stream_sink(b"", body, gave_up)
        self._write(body)
        return self._sink_for(head, body)

    def _begin_http_1_0(self, head: ResponseHead) -> tuple[bytes, bytes]:
        """Prepare an answer for a client that knows no chunks: it gets their contents, until the connection closes.

        Returns:
            The replica's header lines for it, and the end of its head.
        """
        if head.length == CHUNKED:
            self.keep_alive = False
            self._write = Unchunk(self._transport.write).write
        return head.unframed_lines(), connection_lines(keep_alive=self.keep_alive, http_1_0=True) + b"\r\n"

    def _sink_for(self, head: ResponseHead, body: bytes) -> Sink:
        """Return the function that sends the body to the client and keeps what is needed of it."""
        write = self._write
        is_stream = head.is_events
        kept = self._kept = KeptAnswer(chunked=head.length == CHUNKED, streamed=is_stream, coding=head.coding)
        keep = kept.keep if is_stream or 0 <= head.length <= FOLD_BYTES else kept.keep_bounded
        keep(body)

        def write_and_keep(data: bytes) -> None:
            write(data)
            keep(data)

        return write_and_keep

    def _stream_sink(self, own_head: bytes, body: bytes, gave_up: Callable[[], bool]) -> Sink:
        """Begin a stream which another replica may have to continue; return the function that takes the rest of it."""
        self._sent = SentText()
        passed = self._passed = PassedStream(
            self._write, self._sent, gave_up, hides=self._hides_usage, with_last=self._usage_asked.last
        )
        return passed.begin(own_head, body)

    @property
    def lacks_its_end(self) -> bool:
        """Whether a stream that ended with its connection is only a part: a replica that died closes it, too.

        Known for the APIs whose streams have an end of their own.
        """
        head, kept = self.head, self._kept
        if head is None or kept is None or head.length != UNTIL_CLOSE or not head.is_events:
            return False
        return lacks_end(self._request.path, kept.tail())

    def complete(self) -> None:
        """Send what the client's answer still lacks, as the last replica's answer is complete."""
        if self._resumed is not None:
            self._write(LAST_CHUNK)
        elif self._passed is not None:
            self._passed.flush()
            self._passed = None  # it refers to the exchange, and that to this answer
        elif self._held_error is not None:
            self._held_error.end()
        if self._early is not None and self.head is not None:
            self._early.complete(self.head)

    def break_off(self, outcome: Outcome, message: str, *, whole: bool) -> None:
        """Send an error event, in the shape of the request's API, if the answer is a stream; it cannot be completed.

        Args:
            outcome: what happened.
            message: what happened, for the client.
            whole: what came ends with a whole chunk; else nothing can be added.
        """
        head = self.head
        if head is None:
            return
        if self._sent is not None and outcome is Outcome.REPLICA_FAILED:
            message += self._sent.why_not_resumable
        if self._held_error is not None:
            self._held_error.pass_on()
        if self._early is not None and self._early.holds_error:
            self._early.refuse(outcome, message)
            return
        if not head.is_events or not self._is_between_events(whole=whole):
            if head.length == UNTIL_CLOSE or self._incoming.http_1_0:
                reset(self._transport)
            return
        event = error_event(
            outcome,
            message,
            path=self._incoming.path,
            request_id=self._request.request_id.encode(),
            sequence_number=self._next_sequence_number(),
        )
        if head.length == CHUNKED:
            self._write(chunk(event) + LAST_CHUNK)
        elif head.length == UNTIL_CLOSE:
            self._write(event)
            if self._early is not None:
                self._early.complete(head)

    def _is_between_events(self, *, whole: bool) -> bool:
        """Whether an event can follow what the client has been sent."""
        sent = self._sent
        if sent is not None:
            sent.fold()
            return not sent.within_event
        if self._kept is None or self.head is None:
            return whole
        chunked = self.head.length == CHUNKED
        return (whole or not chunked) and ends_event(self._kept.tail(), chunked=chunked)

    def _next_sequence_number(self) -> int:
        """Return the number of the next event of a `/v1/responses` stream, whose events are numbered from 0."""
        numbers = _SEQUENCE_NUMBER.findall(self._kept.tail()) if self._kept is not None else ()
        return int(numbers[-1]) + 1 if numbers else 0

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
        sent, path = self._sent, self._request.path
        if sent is None:
            return None
        sent.fold()
        if sent.within_event:
            return None
        if sent.finished:  # all of the text was sent; only the stream's end is missing
            self._end_here(sent, None)
            return b""
        body = continuation_body(path, self._incoming.body, sent)
        if body == b"":
            self._end_here(sent, "length")
        elif body is not None:
            self._resumed = ResumedStream(sent, self._usage_asked)
        return body

    def _end_here(self, sent: SentText, finish_reason: str | None) -> None:
        events = ending(self._request.path, sent, self._usage_asked, finish_reason=finish_reason)
        self._write(chunk(events) + LAST_CHUNK)

    def go_on(
        self, head: ResponseHead, body: bytes, gave_up: Callable[[], bool], strayed: Callable[[], None]
    ) -> Sink | None:
        """Take the answer of the replica that continues the stream; its events are passed on, its head is not.

        Args:
            head: the replica's head.
            body: the bytes of the body that came with it.
            gave_up: as for `begin`.
            strayed: called when the replica does not continue the text, as it says something else.

        Returns:
            The function that takes the rest of the body; None: the answer is no stream that continues this one.
        """
        resumed = self._resumed
        if resumed is None or head.status != OK or head.length != CHUNKED or not head.is_events:
            return None
        write = self._write

        def write_rest(data: bytes) -> None:
            rest = resumed.feed(data)
            if rest:
                write(rest)
            if resumed.strayed:
                strayed()
            elif resumed.gave_up is not None and not gave_up():
                write(chunk(resumed.gave_up))
                resumed.gave_up = None

        write_rest(body)
        return write_rest

    def fold(self) -> None:
        """Bound the memory of what is kept: the text of a stream that can be resumed, the end of any other answer."""
        if self._sent is not None:
            self._sent.fold_if_long()
        elif self._kept is not None:
            self._kept.fold_if_long()

    # --- tokens

    def usage(self, *, with_reply: bool) -> tuple[Usage, bytes]:
        """Return the tokens that a complete answer reports, and the text that the next turn of a chat will contain.

        Args:
            with_reply: that text is wanted; else it is b"".
        """
        is_chat = with_reply and self._request.path == CHAT
        sent = self._sent
        if sent is not None:
            is_asked = self._hides_usage or self._usage_asked.last
            return sent.usage(is_asked=is_asked), stream_piece(sent) if is_chat else b""
        if self._kept is not None:
            return usage_and_reply(self._kept) if is_chat else (self._kept.usage(), b"")
        return Usage(), b""

    def usage_about(self, *, is_told: bool) -> Usage:
        """Return what is known of the tokens of an answer that does not report them.

        Args:
            is_told: a part of it may report them; else `usage` has looked, and found none.
        """
        return self._sent.usage_about(is_told=is_told) if self._sent is not None else Usage()
