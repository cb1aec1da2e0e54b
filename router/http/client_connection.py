"""One client's connection: parses requests and has them answered, in their order."""

import asyncio
from collections import deque
from enum import Enum
from typing import Protocol, cast

import structlog
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from router.http.client import Client
from router.http.data_plane import TICK_S, DataPlane
from router.http.exchange import Exchange
from router.http.wire.incoming import READ, IncomingRequest, RefusedRequest
from router.http.wire.responses import error_body, response
from router.outcome import HTTP_STATUS, Outcome

_log = structlog.get_logger("rackserve.gateway")

MAX_LINGER_BYTES = 64 * 1024 * 1024
"""Bytes dropped after an early refusal above which the connection is aborted."""
NO_UPGRADE = "this server does not change protocols (Upgrade, CONNECT)"
LAST_WORD_S = 2.0
"""Seconds that a stopping gateway keeps an idle connection. A request may be on its way, and closing at once would lose
it; its answer says that the connection closes."""
LINGER_S = 2.0
"""Seconds after an early refusal in which the client's further bytes are read and dropped. Closing at once would reset
the connection, and the client could lose the answer."""


class Phase(Enum):
    """What a connection waits for from its client."""

    IDLE = "the next request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    LINGER = "the client to stop sending"


class Handler(Protocol):
    """Answers whole requests, itself or by an exchange with a replica."""

    def handle(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Answer a request and return None, or return the exchange that will answer it once started."""
        ...


class OpenConnections(set["ClientConnection"]):
    """The open connections of one gateway process.

    Attributes:
        empty: set while no connection is open.
    """

    def __init__(self) -> None:
        super().__init__()
        self.empty = asyncio.Event()
        self.empty.set()


class ClientConnection(asyncio.Protocol):
    """One client's connection.

    Requests are parsed as they come and answered one at a time; one read may hold several pipelined requests. Bytes
    that come while an answer is running are held and reading stops, so a client cannot fill the gateway's memory.

    Args:
        plane: the gateway's shared state.
        handler: answers the requests.
        connections: the open connections, where this one adds and removes itself.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_connections",
        "_exchange",
        "_handler",
        "_head_bytes",
        "_headers",
        "_held",
        "_lingered",
        "_parser",
        "_phase",
        "_plane",
        "_queue",
        "_read_headers",
        "_refused",
        "_serving",
        "_stalled",
        "_ticks",
        "_url",
        "_writable",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, plane: DataPlane, handler: Handler, connections: OpenConnections) -> None:
        self._plane = plane
        self._handler = handler
        self._connections = connections
        self._parser = HttpRequestParser(self)
        self._read_headers = plane.read_headers
        self._serving = False
        self._phase = Phase.IDLE
        self._ticks = 0
        self._stalled = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._queue: deque[IncomingRequest | RefusedRequest] = deque()
        self._held = b""
        self._exchange: Exchange | None = None
        self._refused = False
        self._lingered = 0
        self._writable = True

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and count the connection as open."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._connections.empty.clear()
        self._plane.meters.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """End the running request and drop those that wait, as the client is gone."""
        del exc
        self._connections.discard(self)
        if not self._connections:
            self._connections.empty.set()
        self._plane.meters.connections -= 1
        self._queue.clear()
        exchange = self._exchange
        self._exchange = None
        if exchange is not None:
            exchange.client_left()

    def data_received(self, data: bytes) -> None:
        """Parse the client's next bytes, hold them while an answer is running, or drop them after a refusal."""
        if self._exchange is not None:
            self._held += data
            self.transport.pause_reading()
        elif self._phase is Phase.LINGER:
            self._lingered += len(data)
            if self._lingered > MAX_LINGER_BYTES:
                self.transport.abort()
        else:
            self._parse(data)

    def pause_writing(self) -> None:
        """Stop reading from the replica, as the client reads too slowly."""
        self._writable = False
        self._stalled = 0
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the replica again, as the client has caught up."""
        self._writable = True
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.transport.resume_reading()

    # --- parsing; httptools calls the `on_…` methods

    def _parse(self, data: bytes) -> None:
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._refuse(Outcome.BAD_REQUEST, NO_UPGRADE)
        except HttpParserError as error:
            self._refuse(Outcome.BAD_REQUEST, f"this is not an HTTP/1.1 request: {error}")
        if self._phase is Phase.HEAD and self._head_bytes > self._plane.spec.max_header_bytes:
            self._refuse_long_head()
        if self._queue:
            self._serve_queue()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._phase = Phase.HEAD
        self._ticks = 0
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Add a piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header if the gateway reads it; refuse a second one of the same name."""
        name = name.lower()
        if name in self._read_headers:
            if name in self._headers:
                if name not in READ:  # passed on as it came: lines of one name are one list (RFC 9110, section 5.3)
                    self._headers[name] += b", " + value
                    return
                self._refuse(Outcome.BAD_REQUEST, f"two {name.decode()} headers; there must be one")
            self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head's limits, and answer `expect: 100-continue`."""
        if self._refused:
            return
        spec = self._plane.spec
        headers = self._headers
        self._phase = Phase.BODY
        if self._head_bytes > spec.max_header_bytes and not self._head_fits():
            self._refuse_long_head()
            return
        length = headers.get(b"content-length")
        if length is not None and int(length) > spec.max_body_bytes:
            self._refuse_long_body()
            return
        expect = headers.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                self._refuse(Outcome.EXPECTATION_FAILED, "only the expectation 100-continue is understood")
            elif not self._queue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _head_fits(self) -> bool:
        """Tell whether the head is within its limit; the bytes counted may include a body or other requests."""
        kept = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())
        return kept <= self._plane.spec.max_header_bytes

    def on_body(self, data: bytes) -> None:
        """Add a piece of the body, given without its framing."""
        if self._refused:
            return
        self._ticks = 0
        self._body_bytes += len(data)
        if self._body_bytes > self._plane.spec.max_body_bytes:
            self._refuse_long_body()
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Check the complete request and put it in the queue."""
        self._head_bytes = 0
        if self._refused:
            return
        self._phase = Phase.IDLE
        url = self._url
        parser = self._parser
        if parser.should_upgrade():
            self._refuse(Outcome.BAD_REQUEST, NO_UPGRADE)
            return
        http_1_0 = parser.get_http_version() == "1.0"
        if url[:1] != b"/" or not url.isascii():
            self._refuse(Outcome.BAD_REQUEST, "the request target must be a path: /v1/…")
            return
        if not http_1_0 and b"host" not in self._headers:
            self._refuse(Outcome.BAD_REQUEST, "the host header is missing")
            return
        path, _, query = url.partition(b"?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._queue.append(
            IncomingRequest(
                parser.get_method(), url, path, query, self._headers, body, parser.should_keep_alive(), http_1_0
            )
        )

    # --- answering

    def _serve_queue(self) -> None:
        """Answer queued requests in order, until one has to wait for its replica."""
        if self._serving:
            return
        self._serving = True
        while self._queue and self._exchange is None and not self.transport.is_closing():
            item = self._queue.popleft()
            if isinstance(item, RefusedRequest):
                self._answer_refusal(item)
                break
            try:
                exchange = self._exchange = self._handler.handle(self, item)
                if exchange is not None:
                    exchange.start()
            except Exception:  # noqa: BLE001 - a defect here must cost one connection, not all of the process
                _log.exception("request failed inside the gateway", path=item.path)
                broken, self._exchange = self._exchange, None
                if broken is not None:
                    broken.client_left()
                self._answer_refusal(RefusedRequest(Outcome.INTERNAL, "the gateway failed; it has logged why"))
                break
            if exchange is None and (not item.keep_alive or self._plane.draining):
                self.transport.close()
        self._serving = False

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """Go on with the next request, as the answer has been written; without `keep_alive` close the connection."""
        self._exchange = None
        self._ticks = 0
        if not keep_alive:
            self.transport.close()
            return
        if self._queue:
            self._serve_queue()
        if self._held and self._exchange is None and not self._serving:
            held, self._held = self._held, b""
            self.transport.resume_reading()
            self.data_received(held)

    def exchange_broken(self) -> None:
        """Close the connection after what was written, as the answer cannot be completed: its end is missing."""
        self._exchange = None
        self.transport.close()

    def _refuse(self, outcome: Outcome, message: str) -> None:
        if not self._refused:
            self._refused = True
            self._queue.append(RefusedRequest(outcome, message))

    def _refuse_long_head(self) -> None:
        limit = self._plane.spec.max_header_bytes
        self._refuse(Outcome.HEADER_TOO_LARGE, f"the request head has over {limit} bytes")

    def _refuse_long_body(self) -> None:
        limit = self._plane.spec.max_body_bytes
        self._refuse(Outcome.BODY_TOO_LARGE, f"the request body has over {limit} bytes")

    def _answer_refusal(self, refused: RefusedRequest) -> None:
        self._plane.meters.ended("", "", refused.outcome)
        status = HTTP_STATUS[refused.outcome]
        self.transport.write(response(status, error_body(refused.outcome, refused.message), close=True))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._phase = Phase.LINGER
        self._ticks = 0

    # --- time limits

    def gateway_stops(self) -> None:
        """Give an idle connection `LAST_WORD_S` from now for a last request, as the gateway stops."""
        if self._phase is Phase.IDLE:
            self._ticks = 0

    def tick(self) -> None:
        """Enforce this connection's time limits; called every `TICK_S`."""
        spec = self._plane.spec
        self._ticks += 1
        waited_s = self._ticks * TICK_S
        phase = self._phase
        if self._exchange is not None:
            self._tick_busy(self._exchange)
        elif phase is Phase.IDLE:
            if waited_s > (LAST_WORD_S if self._plane.draining else spec.idle_timeout_s):
                self.transport.close()
        elif phase is Phase.LINGER:
            if waited_s > LINGER_S:
                self.transport.close()
        elif waited_s > spec.header_timeout_s:
            self._refuse(Outcome.HEADER_TIMEOUT, f"nothing came for {spec.header_timeout_s:g} s within a request")
            self._serve_queue()

    def _tick_busy(self, exchange: Exchange) -> None:
        if not self._writable:
            self._stalled += 1
            if self._stalled * TICK_S > self._plane.spec.idle_timeout_s:
                self.transport.abort()
            return
        upstream = exchange.upstream
        if upstream is None:
            return
        exchange.answer.fold()
        if not upstream.quiet_ticks and upstream.received:
            upstream.pool.signs_of_life += 1
        upstream.quiet_ticks += 1
        timeout_s = exchange.model_timeout_s()
        if upstream.quiet_ticks * TICK_S > timeout_s:
            exchange.timed_out(timeout_s)
