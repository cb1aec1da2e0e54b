"""An answer that begins before the replica's: comments tell the client of a streamed request that it still waits.

Proxies and clients give up connections on which nothing comes for long. A server-sent event stream may hold comments,
which its readers ignore, so the gateway begins the answer itself. Then it is too late for a status: what the replica
answers in place of a stream, and what the gateway refuses, comes as an error event.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec

from router.http.api.answers.resume import CHAT, COMPLETIONS
from router.http.api.errors import RESPONSES, as_anthropic, error_event, speaks_anthropic
from router.http.wire.chunked import LAST_CHUNK, ChunkedError, chunk, payload
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.response_head import CHUNKED, ResponseHead
from router.http.wire.unchunk import Unchunk
from router.http.wire.upstream.receiver import Sink
from router.outcome import Outcome

STREAMED_PATHS = frozenset({CHAT, COMPLETIONS, "/v1/messages", "/v1/responses"})
"""Paths whose streamed answers are server-sent events."""
COMMENT = b": waiting\n\n"
"""What is sent while a request waits (HTML Living Standard, section 9.2.6: lines that begin with a colon)."""
MAX_ERROR_BYTES = 64 * 1024
"""Bytes of a replica's answer that are kept where it becomes an error event."""
MAX_QUOTED = 500
"""Characters of an answer that is no JSON which the error event repeats."""
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"x-accel-buffering: no\r\n"
)


class EarlyAnswer:
    """An event stream that the gateway began, and that a replica's answer goes into.

    Args:
        transport: the client's transport.
        incoming: the request. A client that speaks HTTP/1.0 gets a stream that ends with the connection.
        request_id: its id.
        own_headers: header lines that the gateway adds.
        keep_alive: the client's connection stays open after the answer.
    """

    __slots__ = ("_error", "_error_bytes", "_http_1_0", "_is_framed", "_path", "_request_id", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        incoming: IncomingRequest,
        request_id: bytes,
        own_headers: bytes,
        *,
        keep_alive: bool,
    ) -> None:
        self._transport = transport
        self._path = incoming.path
        self._request_id = request_id
        self._http_1_0 = http_1_0 = incoming.http_1_0
        self._is_framed = False
        self._error: list[bytes] | None = None
        self._error_bytes = 0
        connection = b"" if keep_alive else b"connection: close\r\n"
        framing = b"" if http_1_0 else b"transfer-encoding: chunked\r\n"
        transport.write(b"".join((_HEAD, own_headers, framing, connection, b"\r\n")))
        self._write(COMMENT)

    def beat(self) -> None:
        """Send one more comment."""
        self._write(COMMENT)

    def sink(self, head: ResponseHead) -> Sink:
        """Return the function that takes the body of a replica's answer."""
        if head.status != HTTPStatus.OK or not head.is_events:
            self._error = []
            return self._keep_error
        if head.length != CHUNKED:
            return self._write
        self._is_framed = True
        return Unchunk(self._transport.write).write if self._http_1_0 else self._transport.write

    @property
    def holds_error(self) -> bool:
        """Whether the replica's answer is no stream, and is kept to become an error event."""
        return self._error is not None

    def _write(self, data: bytes) -> None:
        if data:
            self._transport.write(data if self._http_1_0 else chunk(data))

    def _end(self) -> None:
        if not self._http_1_0:
            self._transport.write(LAST_CHUNK)

    def _keep_error(self, data: bytes) -> None:
        if self._error is not None and self._error_bytes < MAX_ERROR_BYTES:
            self._error_bytes += len(data)
            self._error.append(data)

    def complete(self, head: ResponseHead) -> None:
        """Send what the answer still lacks, as the replica's is complete."""
        if self._error is not None:
            self._write(_error_in(head, b"".join(self._error), self._path, self._request_id))
            self._end()
        elif not self._is_framed:
            self._end()

    def refuse(self, outcome: Outcome, message: str) -> None:
        """End the answer with an error event; only where no replica's events have been sent."""
        self._write(error_event(outcome, message, path=self._path, request_id=self._request_id))
        self._end()


def _error_in(head: ResponseHead, body: bytes, path: bytes, request_id: bytes) -> bytes:
    """Return the event that stands for an answer that is no stream: the replica's own error, if that is what it is."""
    if head.length == CHUNKED:
        try:
            body = payload(body)
        except ChunkedError:
            body = b""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        if speaks_anthropic(path):
            return b"event: error\ndata: %s\n\n" % (as_anthropic(head.status, body, request_id) or body)
        return _event_of(answer, error, path)
    quoted = body[: 4 * MAX_QUOTED].decode(errors="replace")[:MAX_QUOTED]
    message = f"the replica answered {head.status} in place of a stream: {quoted}"
    return error_event(Outcome.REPLICA_FAILED, message, path=path, request_id=request_id)


def _event_of(answer: dict[str, Any], error: dict[str, Any], path: bytes) -> bytes:
    """Return a replica's error, `answer` with `error` inside, as an event of the API at `path` (see `error_event`)."""
    if path == RESPONSES:
        told = {"type": "error", **{name: error.get(name) for name in ("code", "message", "param")}}
        return b"event: error\ndata: %s\n\n" % msgspec.json.encode(told | {"sequence_number": 0})
    return b"data: %s\n\n" % msgspec.json.encode(answer)
