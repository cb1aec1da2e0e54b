"""Passes a WebSocket through to a replica: `GET /v1/realtime?model=…`."""

from typing import Final
from urllib.parse import parse_qsl, urlencode

from router.http.data_plane.replica_route import ReplicaRoute
from router.http.exchange.exchange import Exchange
from router.http.wire.request.websocket import accepting_head, opening_head
from router.http.wire.response_head import SWITCHED, ResponseHead
from router.http.wire.upstream.receiver import Sink
from router.http.wire.upstream.upstream import UpstreamConnection
from router.outcome import Outcome

_NAMES_OF_MODEL: Final = ("model", "deployment")
MAX_EARLY_BYTES: Final = 64 * 1024
"""Bytes that a client may send before the replica has accepted; above it reading stops."""


REALTIME: Final = b"/v1/realtime"
"""The path, Azure's spellings of which `front` has replaced by it."""


def model_in(query: bytes) -> str | None:
    """Return the model that a query names, as `model` or, to Azure, as `deployment`; None: it names none."""
    fields = dict(parse_qsl(query.decode("latin-1")))
    return fields.get("model") or fields.get("deployment")


def with_model(query: bytes, model: str) -> tuple[bytes, bytes]:
    """Return the query, and the target with it, in which `model` alone is named."""
    fields = [(name, value) for name, value in parse_qsl(query.decode("latin-1")) if name not in _NAMES_OF_MODEL]
    query = urlencode([*fields, ("model", model)]).encode()
    return query, REALTIME + b"?" + query


class Realtime(Exchange):
    """One WebSocket, counted as a request on its replica until it closes.

    The replica is found and asked as for any request. If it accepts, bytes go both ways until one side closes, each
    side held back while the other one does not read. If it does not, its answer is the client's.
    """

    __slots__ = ("_early", "_early_bytes", "_is_open")

    upgrades = True
    _early: list[bytes]
    _early_bytes: int
    _is_open: bool

    def start(self) -> None:
        """Offer the request to the dispatcher."""
        self._early = []
        self._early_bytes = 0
        self._is_open = False
        super().start()

    def _send(self, upstream: UpstreamConnection, route: ReplicaRoute) -> None:
        self.upstream = upstream
        upstream.send(
            self,
            opening_head(self._incoming, route.path_prefix, route.head_end, route.forwarded, self._request_id),
            b"",
        )

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Open the WebSocket, or begin the answer that refuses it."""
        upstream, attempt = self.upstream, self._ticket.attempt
        if head.status != SWITCHED or upstream is None or attempt is None:
            return super().upstream_head(head, body)
        upstream.pool.signs_of_life += 1
        self._answered_well()
        self._flow.dispatcher.first_token(self._ticket, self._plane.now_s())
        self.answer.head = head
        self.answer.keep_alive = False
        self._is_open = True
        write = self._client.transport.write
        write(accepting_head(head, self._own_headers(attempt)) + body)
        for data in self._early:
            upstream.transport.write(data)
        self._early.clear()
        self._client.transport.resume_reading()
        return write

    def client_sent(self, data: bytes) -> bool:
        """Pass the client's bytes on; before the replica has accepted they are kept."""
        upstream = self.upstream
        if upstream is not None:
            upstream.quiet_ticks = 0
        if self._is_open and upstream is not None:
            upstream.transport.write(data)
        elif data:
            self._early.append(data)
            self._early_bytes += len(data)
            if self._early_bytes > MAX_EARLY_BYTES:
                self._client.transport.pause_reading()
        return True

    def upstream_is_slow(self) -> None:
        """Stop reading from the client."""
        self._client.transport.pause_reading()

    def upstream_caught_up(self) -> None:
        """Read from the client again."""
        self._client.transport.resume_reading()

    def upstream_done(self) -> None:
        """Close the client's connection, as the replica has closed the WebSocket."""
        if self._is_open:
            self._close()
        else:
            super().upstream_done()

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """Close the client's connection; how a WebSocket ends says nothing about the replica."""
        if self._is_open:
            self._close()
        else:
            super().upstream_failed(reason, between_chunks=between_chunks)

    def timed_out(self, timeout_s: float) -> None:
        """Close both connections, as nothing came from either side for `timeout_s` seconds."""
        upstream = self.upstream
        if not self._is_open or upstream is None:
            super().timed_out(timeout_s)
            return
        upstream.abandon()
        self._close()

    def _close(self) -> None:
        if self._ended:
            return
        self._end(Outcome.OK)
        self._client.exchange_ended(keep_alive=False)
