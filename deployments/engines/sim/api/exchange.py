"""One HTTP request and its response, in plain ASGI."""

from deployments.engines.interface import Receive, Scope, Send
from deployments.engines.sim.api.errors import RequestError, bad_request

JSON = "application/json"


class SimExchange:
    """Reads one request and answers it."""

    __slots__ = ("_body", "_receive", "_scope", "_send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body: bytes | None = None

    @property
    def path(self) -> str:
        """The path that was asked for."""
        return str(self._scope["path"])

    @property
    def query(self) -> str:
        """What follows the path's question mark."""
        return bytes(self._scope.get("query_string", b"")).decode("latin-1")

    def header(self, name: bytes) -> str | None:
        """Return a header's value; None: there is none. `name` is in lower case."""
        for key, value in self._scope["headers"]:
            if key == name:
                return bytes(value).decode("latin-1")
        return None

    async def json_body(self) -> bytes:
        """Return the whole body; it is read once, and may be asked for again.

        Raises:
            RequestError: the content type is not JSON, or the client left before the body was complete.
        """
        kind = self.header(b"content-type")
        if kind is not None and "json" not in kind.lower():
            raise RequestError(
                400, "Bad Request", "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
            )
        if self._body is None:
            self._body = await self._read_body()
        return self._body

    async def _read_body(self) -> bytes:
        pieces = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise bad_request("the client left before its request was complete")
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)

    async def client_gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def respond(self, body: bytes, status: int = 200, kind: str = JSON) -> None:
        """Send a whole response.

        Args:
            body: the response's body.
            status: its HTTP status.
            kind: its content type.
        """
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def begin_events(self) -> None:
        """Begin a stream of server-sent events."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def send_events(self, events: bytes, *, more: bool) -> None:
        """Send part of the stream; `more`: another part follows."""
        await self._send({"type": "http.response.body", "body": events, "more_body": more})
