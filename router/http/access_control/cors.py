"""Lets pages of other origins use the gateway from a browser (the Fetch standard's CORS protocol)."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from router.http.api.errors import error_body
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.responses import response
from router.outcome import HTTP_STATUS, Outcome

EVERY_ORIGIN: Final = "*"
MAX_AGE_S: Final = 600
"""Seconds for which a browser need not ask again."""
EXPOSED: Final = (
    "x-request-id",
    "retry-after",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
    *(f"x-rackserve-{what}" for what in ("replica", "policy", "matched-chars", "matched-tokens", "waited-ms")),
)
"""Headers of answers that a page's scripts may read, beside the few that they always may."""
_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADER_NAMES = re.compile(rb"[!#-'*+.0-9A-Z^-z|~, -]*")


class _Writable(Protocol):
    """A connection that an answer can be written to."""

    transport: asyncio.Transport


class Cors:
    """Answers browsers' preflights, and names the allowed origin in every other answer.

    Pages send their API key in a header and no cookies are read, so credentials in the sense of CORS are not allowed.

    Args:
        origins: the origins that may, such as `https://app.example`; `*`: every one.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._every = EVERY_ORIGIN in origins
        self._origins = frozenset(origin.lower().encode() for origin in origins)
        self._exposed = b"access-control-expose-headers: %s\r\n" % ", ".join(EXPOSED).encode()

    def answer_headers(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the header lines that every answer to a request with these headers carries."""
        if self._every:
            return b"access-control-allow-origin: *\r\n" + self._exposed
        origin = headers.get(b"origin", b"")
        if origin.lower() not in self._origins:
            return b"vary: origin\r\n"
        return b"vary: origin\r\naccess-control-allow-origin: %s\r\n%s" % (origin, self._exposed)

    def answered(self, client: _Writable, incoming: IncomingRequest) -> bool:
        """Answer a preflight and return True; else note what the answer to the request must carry, and return False."""
        headers = incoming.headers
        incoming.answer_headers = self.answer_headers(headers)
        if incoming.method != b"OPTIONS" or b"origin" not in headers or b"access-control-request-method" not in headers:
            return False
        client.transport.write(self._preflight(incoming))
        return True

    def _preflight(self, incoming: IncomingRequest) -> bytes:
        headers = incoming.headers
        if not self._every and headers[b"origin"].lower() not in self._origins:
            origin = headers[b"origin"].decode("latin-1")[:200]
            message = f"pages of {origin!r} may not use this gateway (gateway.cors)"
            body = error_body(Outcome.FORBIDDEN_ORIGIN, message, path=incoming.path)
            status = HTTP_STATUS[Outcome.FORBIDDEN_ORIGIN]
            return response(status, body, headers=incoming.answer_headers, close=not incoming.keep_alive)
        lines = incoming.answer_headers + b"access-control-allow-methods: %s\r\n" % _METHODS
        asked = headers.get(b"access-control-request-headers", b"")
        if asked and _HEADER_NAMES.fullmatch(asked):
            lines += b"access-control-allow-headers: %s\r\n" % asked
        if b"access-control-request-private-network" in headers:
            lines += b"access-control-allow-private-network: true\r\n"
        lines += b"access-control-max-age: %d\r\n" % MAX_AGE_S
        close = b"" if incoming.keep_alive else b"connection: close\r\n"
        return b"HTTP/1.1 204 No Content\r\n%s%s\r\n" % (lines, close)
