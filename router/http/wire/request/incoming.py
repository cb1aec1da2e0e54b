"""One complete request, parsed, as the client sent it."""

import re
from dataclasses import dataclass
from typing import Final, final

from router.http.wire.request.content_coding import BodyDecoder
from router.outcome import Outcome

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""What some editors write before UTF-8 text. JSON has none, but whoever reads JSON may ignore it (RFC 8259, 8.1)."""
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


@final
class IncomingRequest:  # noqa: PLW1641 - it changes on its way: it has no hash
    """One request with its whole body.

    Attributes:
        method: the method, as sent.
        url: path and query, as sent on to a replica.
        path: the path in normal form (see `RequestTarget`), without the query; ASCII.
        query: the query as sent, or b"".
        headers: values of the headers in `READ` and of those that `gateway.forward_headers` names, by name in lower
            case; b"": the header is to be ignored.
        body: the whole body, without framing and encoding.
        keep_alive: the client wants to use this connection again.
        http_1_0: the client speaks HTTP/1.0, so it understands no chunked answer.
        upgrades: the client asks for a WebSocket; what it sends after this request is the WebSocket's.
        answer_headers: header lines that every answer to this request carries, each ending in CRLF.
    """

    __slots__ = (
        "answer_headers",
        "body",
        "headers",
        "http_1_0",
        "keep_alive",
        "method",
        "path",
        "query",
        "upgrades",
        "url",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        method: bytes,
        url: bytes,
        path: bytes,
        query: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        keep_alive: bool,
        http_1_0: bool,
        upgrades: bool = False,
        answer_headers: bytes = b"",
    ) -> None:
        self.method = method
        self.url = url
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self.http_1_0 = http_1_0
        self.upgrades = upgrades
        self.answer_headers = answer_headers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IncomingRequest) and self._fields() == other._fields()

    def _fields(self) -> tuple[object, ...]:
        return (
            self.method,
            self.url,
            self.path,
            self.query,
            self.headers,
            self.body,
            self.keep_alive,
            self.http_1_0,
            self.upgrades,
            self.answer_headers,
        )

    def given_id(self) -> bytes | None:
        """Return the client's own `x-request-id`; None where there is none, or one with odd or too many characters."""
        given = self.headers.get(b"x-request-id")
        return given if given is not None and _REQUEST_ID.fullmatch(given) else None

    def upstream_head(
        self,
        path_prefix: bytes,
        head_end: bytes,
        forwarded: tuple[bytes, ...],
        request_id: bytes,
        body_bytes: int,
    ) -> bytes:
        """Return a newly made head for the request to a replica.

        Args:
            path_prefix: what stands before the path at that replica.
            head_end: the part of the head that is the same for every request to that replica, see `ReplicaRoute`.
            forwarded: names of the headers that are passed on to it.
            request_id: the request's id.
            body_bytes: length of the body that follows, in bytes.
        """
        parts = [self.method, b" ", path_prefix, self.url, head_end, request_id]
        headers = self.headers
        for name in forwarded:
            if name in headers and (value := headers[name]):
                parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\ncontent-length: %d\r\n\r\n" % body_bytes)
        return b"".join(parts)


@dataclass(frozen=True)
class RefusedRequest:
    """A request that could not be read to its end; the connection closes after the answer.

    Attributes:
        outcome: why it is refused.
        message: the explanation for the client.
        path: the request's path, as far as it came; it says whose shape the error has.
        headers: header lines that the answer carries, each ending in CRLF.
        head_only: the method is HEAD, so the answer has no body.
    """

    outcome: Outcome
    message: str
    path: bytes = b""
    headers: bytes = b""
    head_only: bool = False


@dataclass(frozen=True)
class EncodedRequest:
    """A request whose body came compressed, and has to be decoded before it is answered.

    Attributes:
        request: the request, without its body.
        decoder: decodes the body.
    """

    request: IncomingRequest
    decoder: BodyDecoder
