"""Connections to replicas: kept open, one request at a time on each, answers passed on as they come."""

import asyncio
from typing import Final, cast

from router.http.wire.chunked import ChunkedError, ChunkedWalk
from router.http.wire.known_head import KnownHead
from router.http.wire.response_head import CHUNKED, SWITCHED, UNTIL_CLOSE, HeadError, ResponseHead
from router.http.wire.upstream.dead_peer import notice_dead_peer
from router.http.wire.upstream.receiver import Receiver, Sink
from router.http.wire.upstream.upstream_tls import client_context, keep_session
from router.replicas.endpoint import Endpoint

MAX_RESPONSE_HEAD: Final = 64 * 1024
"""Bytes above which a response head is an error."""
IDLE_S: Final = 4.0
"""Seconds after which an idle connection is closed: before uvicorn's 5 s, so that few requests meet a closing one."""


def _without_empty_lines(data: bytes) -> bytes:
    """Return bytes that begin a head without the empty line that some servers write after the answer before it."""
    return data.lstrip(b"\r\n") if data[:1] == b"\r" else data


def _nowhere(data: bytes) -> None:
    """Drop bytes that no request waits for."""
    del data


class UpstreamConnection:
    """One connection to a replica: an `asyncio.Protocol`, but for the base class, which compiled classes cannot have.

    Attributes:
        pool: the pool it belongs to.
        transport: the transport of the connection.
        used: requests sent on it. The first can fail only because the replica fails; a later one also because the
            replica was just closing the idle connection.
        quiet_ticks: the gateway's timer ticks since bytes last came; the gateway counts them.
        idle_ticks: the pool's ticks since it was given back; the pool counts them.
        received: bytes received of the current answer.
        sink: receives the body of the current answer.
    """

    __slots__ = (
        "_buffer",
        "_head",
        "_is_paused",
        "_receiver",
        "_remaining",
        "_unsent_bytes",
        "_walk",
        "idle_ticks",
        "pool",
        "quiet_ticks",
        "received",
        "sink",
        "transport",
        "used",
    )

    transport: asyncio.Transport

    def __init__(self, pool: "UpstreamPool") -> None:
        self.pool = pool
        self.used = 0
        self.quiet_ticks = 0
        self.idle_ticks = 0
        self.received = 0
        self._receiver: Receiver | None = None
        self.sink: Sink = _nowhere
        self._head: ResponseHead | None = None
        self._walk: ChunkedWalk | None = None
        self._remaining = 0
        self._buffer = b""
        self._is_paused = False
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and count the connection as open."""
        self.transport = cast("asyncio.Transport", transport)
        notice_dead_peer(self.transport)
        self.pool.open += 1

    def eof_received(self) -> None:
        """Have the transport close the connection, as the replica sends nothing more."""

    def send(self, receiver: Receiver, head: bytes, body: bytes) -> None:
        """Send a request; its answer goes to `receiver`."""
        self._receiver = receiver
        self._head = None
        self.used += 1
        self.quiet_ticks = 0
        self.received = 0
        self._unsent_bytes = 0
        if len(body) > MAX_RESPONSE_HEAD:
            self.transport.write(head)  # joining the two would copy a large body
            self.transport.write(body)
            self._unsent_bytes = len(body)
        else:
            self.transport.write(head + body)

    def pause_writing(self) -> None:
        """Tell the receiver that the replica takes in bytes too slowly."""
        if self._receiver is not None:
            self._receiver.upstream_is_slow()

    def resume_writing(self) -> None:
        """Tell the receiver that the replica has caught up."""
        if self._receiver is not None:
            self._receiver.upstream_caught_up()

    def pause(self) -> None:
        """Stop reading the answer; the replica is slowed down once the kernel's buffers are full."""
        if self._receiver is not None and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again, if reading was stopped."""
        if self._is_paused:
            self._is_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def tick(self) -> None:
        """Count a tick of silence; a replica that still takes in a large request is not silent."""
        self.quiet_ticks += 1
        if self._unsent_bytes:
            unsent_bytes = self.transport.get_write_buffer_size()
            if unsent_bytes < self._unsent_bytes:
                self._unsent_bytes = unsent_bytes
                self.quiet_ticks = 0

    def data_received(self, data: bytes) -> None:
        """Pass the answer's bytes on and find its end."""
        self.quiet_ticks = 0
        self.received += len(data)
        walk = self._walk
        if walk is None:
            self._unchunked_received(data)
            return
        try:
            end = walk.feed(data)
        except ChunkedError as error:
            self._fail(f"sent a broken body: {error}")
            return
        if end < 0:
            self.sink(data)
        else:
            self._finish(data, end)

    def _unchunked_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.transport.abort()  # bytes that no request asked for
        elif self._head is None:
            self._head_received(receiver, data)
        elif self._remaining < 0:
            self.sink(data)
        else:
            self._remaining -= len(data)
            if self._remaining > 0:
                self.sink(data)
            else:
                self._finish(data, len(data) + self._remaining)

    def _head_received(self, receiver: Receiver, data: bytes) -> None:
        data, self._buffer = _without_empty_lines(self._buffer + data), b""
        start = 0
        while True:
            end = data.find(b"\r\n\r\n", start)
            if end < 0:
                self._keep_head(data[start:] if start else data)
                return
            try:
                head = self.pool.known_head.read(data[start : end + 4], to_head_request=receiver.head_request)
            except HeadError as unreadable:
                self._fail(f"sent a broken response head: {unreadable}")
                return
            start = end + 4
            if not head.is_interim:
                break
            if head.status == SWITCHED:
                if receiver.upgrades:
                    break
                self._fail("changed the protocol without being asked to")
                return
        body = data[start:]
        self._head = head
        try:
            end = self._begin_body(head.length, body)
        except ChunkedError as error:
            self._fail(f"sent a broken body: {error}")
            return
        self.sink = receiver.upstream_head(head, body if end < 0 else body[:end])
        if end >= 0 and self._receiver is not None:
            self._finish(b"", 0, excess=len(body) > end)

    def _keep_head(self, data: bytes) -> None:
        """Keep the beginning of a head until the rest of it comes."""
        if len(data) > MAX_RESPONSE_HEAD:
            self._fail(f"sent a response head of over {MAX_RESPONSE_HEAD} bytes")
        elif b"\n\n" in data:
            self._fail("sent a broken response head: its lines do not end in CRLF")
        else:
            self._buffer = data

    def _begin_body(self, length: int, body: bytes) -> int:
        """Take the bytes that came with the head; return the offset at which the body ends, -1 if it continues."""
        self._walk = None
        if length == CHUNKED:
            self._walk = ChunkedWalk()
            return self._walk.feed(body) if body else -1
        if length == UNTIL_CLOSE:
            self._remaining = -1
            return -1
        self._remaining = length - len(body)
        return length if self._remaining <= 0 else -1

    def _finish(self, data: bytes, end: int, *, excess: bool = False) -> None:
        """End the answer at offset `end` of `data`; close the connection if unrequested bytes follow."""
        excess = excess or end < len(data)
        if end:
            self.sink(data[:end] if excess else data)
        receiver = self._receiver
        head = self._head
        if receiver is None:
            return  # the request was given up as its last bytes were passed on
        self._drop_receiver()
        if self.used == 1:
            self.pool.keep_session(self)
        if excess or head is None or not head.keep_alive:
            self.transport.close()
        elif self._unsent_bytes and self.transport.get_write_buffer_size():
            self.transport.abort()  # it answered without reading the request, whose rest would stand before the next
        else:
            self.pool.put(self)
        receiver.upstream_done()

    def _drop_receiver(self) -> None:
        """Undo what a request has changed: none waits for an answer on this connection any more."""
        self._receiver = None
        self._walk = None
        self.sink = _nowhere
        if self._is_paused:
            self.resume()

    def _fail(self, reason: str) -> None:
        receiver = self._receiver
        self._drop_receiver()
        self.transport.abort()
        if receiver is not None:
            receiver.upstream_failed(reason, between_chunks=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer, or fail it, because the replica closed the connection or it broke."""
        receiver = self._receiver
        between_chunks = self.between_chunks
        self._drop_receiver()
        self.pool.lost(self)
        if receiver is None:
            return
        if self._head is not None and self._head.length == UNTIL_CLOSE and exc is None:
            receiver.upstream_done()
        else:
            receiver.upstream_failed(f"closed the connection{f': {exc}' if exc else ''}", between_chunks=between_chunks)

    @property
    def between_chunks(self) -> bool:
        """Whether the answer is chunked and what came of it ends with a whole chunk."""
        return self._walk is not None and self._walk.between_chunks

    def hand_over(self, receiver: Receiver) -> None:
        """Give the answer that comes to another receiver. Its head is not given again."""
        self._receiver = receiver
        self.resume()

    def abandon(self) -> None:
        """Close at once, because the answer is not wanted any more; the engine sees this and aborts the request."""
        self._drop_receiver()
        self.transport.abort()


class UpstreamPool:
    """The connections to one replica.

    Args:
        endpoint: the replica.
        connect_timeout_s: seconds that opening a connection may take.
        tick_s: seconds between two calls of `tick`.

    Attributes:
        endpoint: the replica.
        known_head: reads the heads of its answers.
        open: number of open connections, idle and busy.
        signs_of_life: grows with each answer to a client's request, and a few times a second while an answer flows.
    """

    def __init__(self, endpoint: Endpoint, connect_timeout_s: float, tick_s: float) -> None:
        self.endpoint = endpoint
        self._connect_timeout_s = connect_timeout_s
        access = endpoint.access
        self._tls_name = (access.server_name or endpoint.host) if access.uses_tls else None
        self._idle_ticks = max(1, int(IDLE_S / tick_s))
        self._idle: list[UpstreamConnection] = []
        self._closed = False
        self.known_head = KnownHead()
        self.open = 0
        self.signs_of_life = 0

    def take(self) -> UpstreamConnection | None:
        """Return the idle connection that was used last; None where there is none and the caller must `connect`."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """Open a new connection.

        Raises:
            OSError: the replica does not accept it, or its certificate is not trusted.
            TimeoutError: it was not open within `connect_timeout_s`.
        """
        loop = asyncio.get_running_loop()
        endpoint = self.endpoint
        connection = UpstreamConnection(self)
        async with asyncio.timeout(self._connect_timeout_s):
            await loop.create_connection(
                lambda: cast("asyncio.Protocol", connection),
                endpoint.host,
                endpoint.http_port,
                ssl=client_context(endpoint.access.ca_file) if self._tls_name else None,
                server_hostname=self._tls_name,
            )
        return connection

    def keep_session(self, connection: UpstreamConnection) -> None:
        """Keep the TLS session of a connection whose first answer is complete, for those opened later."""
        if self._tls_name is not None:
            keep_session(self._tls_name, connection.transport)

    def put(self, connection: UpstreamConnection) -> None:
        """Take back a connection that can be used again."""
        if self._closed:
            connection.transport.close()
            return
        connection.idle_ticks = 0
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is closed."""
        self.open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def tick(self) -> None:
        """Close the connections that were idle for over `IDLE_S`; the list has the longest idle first."""
        for connection in self._idle:
            connection.idle_ticks += 1
        while self._idle and self._idle[0].idle_ticks > self._idle_ticks:
            self._idle.pop(0).transport.close()

    def close(self) -> None:
        """Close the idle connections; busy ones close when their request ends."""
        self._closed = True
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()
