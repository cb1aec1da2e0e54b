"""One request as the client sent it, parsed and complete."""

import re
from dataclasses import dataclass

import msgspec

from router.outcome import Outcome

READ = frozenset(
    {
        b"accept",
        b"anthropic-beta",
        b"anthropic-version",
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"traceparent",
        b"tracestate",
        b"x-api-key",
        b"x-priority",
        b"x-rackserve-explain",
        b"x-request-id",
        b"x-request-timeout-ms",
        b"x-session-id",
    }
)
"""Header names the gateway reads; others are dropped where they come in."""

FORWARDED = (b"content-type", b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
"""Headers that go on to the replica. All else of its request is made by the gateway."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class IncomingRequest(msgspec.Struct, gc=False):
    """One request, complete with its body.

    Attributes:
        method: as sent.
        url: path and query, as sent.
        path: the path, without the query.
        query: the query, or b"".
        headers: those in `READ`, names in lower case.
        body: the whole body, framing taken off.
        keep_alive: the client wants to go on with this connection.
        http_1_0: the client speaks HTTP/1.0: it understands no chunked answer.
    """

    method: bytes
    url: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    http_1_0: bool

    def given_id(self) -> bytes | None:
        """Return the client's own `x-request-id` where it is a plain word, else None."""
        given = self.headers.get(b"x-request-id")
        return given if given is not None and _REQUEST_ID.fullmatch(given) else None

    def upstream_head(self, head_end: bytes, request_id: bytes, body_bytes: int) -> bytes:
        """Return the head of the request a replica gets, made anew.

        Args:
            head_end: what of it is the same for every request to that replica, see `ReplicaRoute`.
            request_id: the request's id.
            body_bytes: length of the body that follows.
        """
        parts = [self.method, b" ", self.url, head_end, request_id]
        for name in FORWARDED:
            value = self.headers.get(name)
            if value is not None:
                parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\ncontent-length: %d\r\n\r\n" % body_bytes)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that could not be read to its end; the connection closes after the answer.

    Attributes:
        outcome: why.
        message: for the client.
    """

    outcome: Outcome
    message: str
