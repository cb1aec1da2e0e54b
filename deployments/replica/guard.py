"""The guard in front of an engine's HTTP app: admits only gateways of this cluster, and counts their requests."""

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from cluster.spec.parts.engine_control import controls_engine
from deployments.engines.interface import AsgiApp, Receive, Scope, Send
from deployments.telemetry.pulse import PULSE_PATH, answer_pulse
from router.replicas.ranks import RANK_HEADER

MAX_GATEWAYS: Final = 4096
"""Most gateways counted separately; beyond it the one whose last request is oldest is forgotten."""

_RANK: Final = RANK_HEADER.encode()

_UNAUTHORIZED = (
    b'{"error":{"message":"replicas answer gateways only; ask the gateway","type":"authentication_error","param":null,'
    b'"code":"unauthorized"}}'
)
_NOT_FOUND = (
    b'{"error":{"message":"this path manages an engine: a replica takes it from nobody","type":"not_found_error",'
    b'"param":null,"code":"not_found"}}'
)
_CLOSED = (
    b'{"error":{"message":"this replica takes no more requests","type":"server_error","param":null,'
    b'"code":"replica_failed"}}'
)


class ReplicaGuard:
    """An ASGI app around an engine's.

    Args:
        app: the engine's app.
        credential: the cluster's internal credential; every request must carry it as a bearer token.
        ranks: data-parallel ranks of the engine; requests are counted apart by the rank that they name.

    Attributes:
        closed: set to True to send further requests back to their gateways, which try another replica.
    """

    def __init__(self, app: AsgiApp, credential: str, ranks: int = 1) -> None:
        self._app = app
        self._ranks = {str(rank).encode(): rank for rank in range(ranks)} if ranks > 1 else {}
        self._listeners: tuple[Callable[[], None], ...] = ()
        self._authorization = f"Bearer {credential}".encode()
        self._accepted: OrderedDict[bytes, Counter[int | None]] = OrderedDict()
        self._in_flight: Counter[tuple[bytes, int | None]] = Counter()
        self.closed = False

    @property
    def in_flight(self) -> int:
        """Requests now inside the engine's app."""
        return self._in_flight.total()

    def gateways(self, rank: int | None = None) -> int:
        """Return how many gateways have requests inside the engine's app now; with `rank`, on that rank."""
        return len({gateway_id for gateway_id, on in self._in_flight if rank in {None, on}})

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at each request that is let in; return a function that ends this."""
        self._listeners = (*self._listeners, callback)

        def stop() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not callback)

        return stop

    @property
    def accepted_in_all(self) -> int:
        """Requests accepted so far, of all gateways."""
        return sum(counts.total() for counts in self._accepted.values())

    def accepted(self, gateway_id: str, rank: int | None = None) -> int:
        """Return how many requests of a gateway have been accepted so far; with `rank`, for that rank."""
        counts = self._accepted.get(gateway_id.encode())
        if counts is None:
            return 0
        return counts.total() if rank is None else counts[rank]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901 - one question a line
        """Pass a request or WebSocket on if it carries the credential; answer 401 if not, 503 once `closed`.

        What steers the engine is 404: gateways pass no such request on, so one that comes is not from a gateway's
        client, and the replica itself asks its engine directly.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        authorization, gateway_id, rank = b"", b"", None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-rackserve-gateway":
                gateway_id = value
            elif name == _RANK:
                rank = self._ranks.get(value)
        if not hmac.compare_digest(authorization, self._authorization):
            await _refuse(scope, send, 401, _UNAUTHORIZED)
            return
        if scope["type"] == "http" and scope["path"] == PULSE_PATH:
            await answer_pulse(receive, send)
            return
        if controls_engine(scope["path"]):
            await _refuse(scope, send, 404, _NOT_FOUND)
            return
        if self.closed:
            await _refuse(scope, send, 503, _CLOSED, (b"x-rackserve-retry", b"1"))
            return
        self._count(gateway_id, rank)
        self._in_flight[gateway_id, rank] += 1
        for listener in self._listeners:
            listener()
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight[gateway_id, rank] -= 1
            if not self._in_flight[gateway_id, rank]:
                del self._in_flight[gateway_id, rank]

    def _count(self, gateway_id: bytes, rank: int | None) -> None:
        self._accepted.setdefault(gateway_id, Counter())[rank] += 1
        self._accepted.move_to_end(gateway_id)
        if len(self._accepted) > MAX_GATEWAYS:
            self._accepted.popitem(last=False)


async def _refuse(scope: Scope, send: Send, status: int, body: bytes, *more_headers: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *more_headers,
    ]
    # The answer to a WebSocket's handshake has names of its own (ASGI's WebSocket Denial Response).
    prefix = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{prefix}.start", "status": status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})
