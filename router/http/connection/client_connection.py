"""One client's connection: has its requests answered, one after the other, and enforces its time limits."""

import asyncio
from typing import Final, Protocol, cast

import structlog

from cluster.spec.gateway_spec import GatewaySpec
from router.http.access_control.cors import Cors
from router.http.api.errors import error_body
from router.http.connection.client import Answering, Client
from router.http.connection.decoding import Decoding
from router.http.connection.half_closed import HalfClosed, may_be_half_closed
from router.http.connection.open_connections import OpenConnections
from router.http.data_plane.data_plane import TICK_S, DataPlane
from router.http.wire.request.incoming import EncodedRequest, IncomingRequest, RefusedRequest
from router.http.wire.request.phase import Phase
from router.http.wire.request.request_parser import RequestParser
from router.http.wire.responses import CONTINUE, response
from router.outcome import HTTP_STATUS, Outcome

_BODY: Final = Phase.BODY
_log: Final = structlog.get_logger("rackserve.gateway")

MAX_HELD_BYTES: Final = 64 * 1024
"""Bytes held of further requests above which reading stops while an answer is running. Below it reading goes on, which
alone shows that a client has left."""
MAX_LINGER_BYTES: Final = 64 * 1024 * 1024
"""Bytes dropped after an early refusal above which the connection is aborted."""
LAST_WORD_S: Final = 2.0
"""Seconds that a stopping gateway keeps an idle connection. A request may be on its way, and closing at once would lose
it; its answer says that the connection closes."""
LINGER_S: Final = 2.0
"""Seconds after an early refusal in which the client's further bytes are read and dropped. Closing at once would reset
the connection, and the client could lose the answer."""
RETRY: Final = b"retry-after: 1\r\n"
"""Header line of a refusal that may be another answer a second later."""
MAX_PARSED: Final = 64 * 1024
"""Bytes of a read that are parsed at once where requests begin in it: the rest waits until those have been answered."""
MAX_AT_ONCE: Final = 32
"""Requests that came together of which this many are answered in one turn of the event loop, if no replica is asked."""
FAILED_INSIDE: Final = "the gateway failed; it has logged why"


class Handler(Protocol):
    """Answers whole requests, itself or by an exchange with a replica."""

    def needs_body(self, client: Client, incoming: IncomingRequest) -> bool:
        """Tell whether a request's answer depends on its body, which has not come whole.

        Where it does not, `handle` answers the request without one, at once. So what is refused by its head alone,
        for its key above all, sends no body into memory.
        """
        ...

    def handle(self, client: Client, incoming: IncomingRequest) -> Answering | None:
        """Answer a request and return None, or return what will answer it once started."""
        ...


class ClientConnection:
    """One client's connection: an `asyncio.Protocol`, but for the base class, which compiled classes cannot have.

    Requests are parsed as they come and answered one at a time; one read may hold several pipelined requests. Bytes
    that come while an answer is running are held, up to a bound, and no answer begins while the client does not read
    the one before, so a client cannot fill the gateway's memory.

    Args:
        plane: the gateway's shared state.
        handler: answers the requests.
        connections: the open connections, where this one adds and removes itself.
        cors: which pages of other origins may use this port; None: none may.

    Attributes:
        transport: where answers are written.
        writable: the client keeps up with what is written.
    """

    __slots__ = (
        "_answering",
        "_body_bytes",
        "_connections",
        "_cors",
        "_half_closed",
        "_handler",
        "_held",
        "_is_lingering",
        "_lingered",
        "_plane",
        "_requests",
        "_serving",
        "_stalled_ticks",
        "_unsent_bytes",
        "transport",
        "writable",
    )

    transport: asyncio.Transport

    def __init__(
        self, plane: DataPlane, handler: Handler, connections: OpenConnections, cors: Cors | None = None
    ) -> None:
        self._plane = plane
        self._handler = handler
        self._connections = connections
        self._cors = cors
        self._requests = RequestParser(plane.spec, plane.read_headers)
        self._answering: Answering | None = None
        self._body_bytes = 0  # counted of a body that is coming in
        self._serving = False
        self._half_closed: HalfClosed | None = None
        self._held = b""
        self._is_lingering = False
        self._lingered = 0
        self._stalled_ticks = 0
        self._unsent_bytes = 0
        self.writable = True

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and count the connection as open."""
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._plane.meters.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """End the running request and drop those that wait, as the client is gone."""
        del exc
        self._connections.discard(self)
        self._plane.meters.connections -= 1
        self._requests.close()
        self._count_body(0)
        answering = self._answering
        self._answering = None
        if answering is not None:
            answering.client_left()

    def eof_received(self) -> bool:
        """Note that the client sends nothing more; return whether the connection stays open for answers."""
        if not self._is_owed or self._requests.after_upgrade is not None or not may_be_half_closed(self.transport):
            return False
        if self._half_closed is None:
            self._half_closed = HalfClosed(self.transport)
        return True

    @property
    def _is_owed(self) -> bool:
        """Whether a request has been read that is not answered, or something that may be one."""
        return self._answering is not None or bool(self._requests.queue) or bool(self._held)

    def data_received(self, data: bytes) -> None:
        """Parse the client's next bytes, hold them while an answer is running, or drop them after a refusal."""
        if self._answering is not None:
            if not self._answering.client_sent(data):
                self._hold(data)
        elif self._is_lingering:
            self._lingered += len(data)
            if self._lingered > MAX_LINGER_BYTES:
                self.transport.abort()
        elif not self.writable or self._requests.queue:
            self._hold(data)
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Parse the client's next bytes, a part at a time where requests begin in them, and answer what is complete."""
        requests, rest = self._requests, b""
        if len(data) > MAX_PARSED and requests.phase is not _BODY:
            data, rest = data[:MAX_PARSED], data[MAX_PARSED:]
        requests.feed(data)
        if requests.phase is _BODY:
            self._body_comes()
        elif self._body_bytes:
            self._count_body(0)
        if requests.queue:
            self._serve_queue()
        if rest:
            self.data_received(rest)
        elif requests.wants_continue:
            self._let_body_come()

    def _body_comes(self) -> None:
        """Count a body that has come in part; answer at once where its request needs none."""
        requests = self._requests
        begun = requests.take_begun()
        if begun is not None and not self._handler.needs_body(self, begun):
            requests.answer_by_head(begun)
        self._count_body(requests.body.held_bytes)

    def _count_body(self, size_bytes: int) -> None:
        """Count what is held of a body that is coming in, or is being decoded, among those of all connections."""
        if size_bytes != self._body_bytes:
            self._body_bytes = size_bytes
            self._plane.incoming_bodies.count(self, size_bytes)

    def give_up_body(self) -> None:
        """Refuse the request whose body is coming in, as bodies take too much memory; it is the longest of all."""
        self._count_body(0)
        if isinstance(self._answering, Decoding):
            self._answering.client_left()
            self._answering = None
        self._requests.refuse(Outcome.OVERLOADED, "too many request bodies are coming in; send it again later", RETRY)
        self._serve_queue()

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > MAX_HELD_BYTES:
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        """Have no more bytes produced, as the client reads too slowly."""
        self.writable = False
        self._stalled_ticks = 0
        if self._answering is not None:
            self._answering.client_is_slow()

    def resume_writing(self) -> None:
        """Go on, as the client has caught up."""
        self.writable = True
        if self._answering is not None:
            self._answering.client_caught_up()
        else:
            self._go_on()

    # --- answering

    def _serve_queue(self) -> None:
        """Answer queued requests in order, until one takes time, or the client has to read first."""
        if self._serving:
            return
        self._serving = True
        queue = self._requests.queue
        left = MAX_AT_ONCE
        while queue and self._answering is None and self.writable and not self.transport.is_closing():
            if not left:
                asyncio.get_running_loop().call_soon(self._go_on)
                break
            left -= 1
            item = queue.popleft()
            if isinstance(item, IncomingRequest):
                self._answer(item)
            elif isinstance(item, EncodedRequest):
                self._answering = Decoding(item, self._plane.spec.max_body_bytes, self._count_body, self._decoded)
                self._answering.start()
            else:
                self._answer_refusal(item)
        self._serving = False

    def _answer(self, request: IncomingRequest) -> None:
        try:
            if self._cors is not None and self._cors.answered(self, request):
                answering = None
            else:
                answering = self._answering = self._handler.handle(self, request)
            if answering is not None:
                answering.start()
                if request.upgrades and self._answering is answering:
                    answering.client_sent(self._requests.after_upgrade or b"")
        except Exception:  # noqa: BLE001 - a defect here must cost one connection, not all of the process
            _log.exception("request failed inside the gateway", path=request.path)
            broken, self._answering = self._answering, None
            if broken is not None:
                broken.client_left()
            self._answer_refusal(RefusedRequest(Outcome.INTERNAL, FAILED_INSIDE, request.path))
            return
        if answering is None and (not request.keep_alive or self._plane.draining):
            if self._requests.is_cut:
                self._linger()
            else:
                self.transport.close()

    def _decoded(self, item: IncomingRequest | RefusedRequest) -> None:
        """Answer a request whose body came compressed, or refuse it."""
        self._answering = None
        self._count_body(0)
        self._requests.queue.appendleft(item)
        self._go_on()

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """Go on with the next request, as the answer has been written; without `keep_alive` close the connection."""
        self._answering = None
        self._requests.quiet_ticks = 0
        if not keep_alive:
            self.transport.close()
        elif not self._serving:
            self._go_on()

    def exchange_broken(self) -> None:
        """Close the connection after what was written, as the answer cannot be completed: its end is missing."""
        self._answering = None
        self.transport.close()

    def _go_on(self) -> None:
        """Answer what waits in the queue, then parse what was held."""
        if self._requests.queue:
            self._serve_queue()
        if (
            self._held
            and not self._requests.queue
            and self._answering is None
            and self.writable
            and not self.transport.is_closing()
        ):
            held, self._held = self._held, b""
            self.transport.resume_reading()
            self.data_received(held)
        elif self._requests.wants_continue:
            self._let_body_come()
        if self._half_closed is not None and not self._is_owed:
            self.transport.close()

    def _let_body_come(self) -> None:
        """Tell a client that waits for it to send its body, once the requests before that one have been answered."""
        is_free = self._answering is None and not self._requests.queue and not self._is_lingering
        if is_free and not self.transport.is_closing():
            self._requests.wants_continue = False
            self.transport.write(CONTINUE)

    def _answer_refusal(self, refused: RefusedRequest) -> None:
        self._plane.meters.ended("", "", refused.outcome)
        headers = refused.headers
        if self._cors is not None:
            headers += self._cors.answer_headers(self._requests.headers)
        body = error_body(refused.outcome, refused.message, path=refused.path)
        status = HTTP_STATUS[refused.outcome]
        self.transport.write(response(status, body, headers=headers, close=True, head_only=refused.head_only))
        self._linger()

    def _linger(self) -> None:
        """End this side of the connection, and drop what the client still sends for a while before it is closed."""
        self._count_body(0)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._requests.queue.clear()
        self._requests.quiet_ticks = 0
        self._is_lingering = True

    # --- time limits

    def gateway_stops(self) -> None:
        """Give an idle connection `LAST_WORD_S` from now for a last request, as the gateway stops."""
        if self._requests.phase is Phase.IDLE:
            self._requests.quiet_ticks = 0

    def gateway_ends(self) -> None:
        """End a running answer, as the gateway waits no longer."""
        if self._answering is not None:
            self._answering.gateway_ends()

    def tick(self) -> None:
        """Enforce this connection's time limits; called every `TICK_S`."""
        answering, half_closed = self._answering, self._half_closed
        if half_closed is not None and answering is not None and half_closed.has_left(answering):
            self.transport.abort()
        elif not self.writable or self.transport.is_closing():
            self._tick_stalled()
        elif self._answering is not None:
            self._answering.tick()
        else:
            self._tick_quiet()

    def _tick_stalled(self) -> None:
        """Give up on a client that reads nothing of what was written; how slowly it reads is its own affair."""
        unsent_bytes = self.transport.get_write_buffer_size()
        if unsent_bytes != self._unsent_bytes:
            self._unsent_bytes = unsent_bytes
            self._stalled_ticks = 0
        self._stalled_ticks += 1
        if self._stalled_ticks * TICK_S > self._plane.spec.idle_timeout_s:
            self.transport.abort()

    def _tick_quiet(self) -> None:
        """Give up on a client that sends nothing."""
        requests, spec = self._requests, self._plane.spec
        requests.quiet_ticks += 1
        waited_s = requests.quiet_ticks * TICK_S
        if self._is_lingering:
            if waited_s > LINGER_S:
                self.transport.close()
        elif requests.phase is Phase.IDLE:
            if waited_s > (LAST_WORD_S if self._plane.draining else spec.idle_timeout_s):
                self.transport.close()
        elif requests.phase is _BODY and requests.body.has_brought(spec.min_body_bytes_per_s * spec.header_timeout_s):
            requests.quiet_ticks = 0
        elif waited_s > spec.header_timeout_s:
            requests.refuse(Outcome.HEADER_TIMEOUT, _too_slow(requests.phase, spec))
            self._serve_queue()


def _too_slow(phase: Phase, spec: GatewaySpec) -> str:
    if phase is Phase.BODY:
        return f"the body came with under {spec.min_body_bytes_per_s:g} bytes a second for {spec.header_timeout_s:g} s"
    return f"the request's head was not complete after {spec.header_timeout_s:g} s"
