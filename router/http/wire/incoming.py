"""One complete request, parsed, as the client sent it."""

import re
from dataclasses import dataclass

import msgspec

from router.outcome import Outcome

READ = frozenset(
    {
        b"accept",
        b"anthropic-beta",
        b"anthropic-version",
        b"api-key",
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
"""Names of the headers that the gateway reads; all others are dropped as they come in."""

FORWARDED = (b"content-type", b"accept", b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
"""Names of the headers that are passed on to the replica. The gateway makes the rest of its request head."""

CREDENTIALS = (b"authorization", b"x-api-key")
"""Names of the headers with a client's API key; passed on to servers that check the key themselves."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class IncomingRequest(msgspec.Struct, gc=False):
    """One request with its whole body.

    Attributes:
        method: the method, as sent.
        url: path and query, as sent.
        path: the path, without the query.
        query: the query, or b"".
        headers: values of the headers in `READ` and of those that `gateway.forward_headers` names, by name in lower
            case.
        body: the whole body, without framing.
        keep_alive: the client wants to use this connection again.
        http_1_0: the client speaks HTTP/1.0, so it understands no chunked answer.
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
        for name in forwarded:
            value = self.headers.get(name)
            if value is not None:
                parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\ncontent-length: %d\r\n\r\n" % body_bytes)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """A request that could not be read to its end; the connection closes after the answer.

    Attributes:
        outcome: why it is refused.
        message: the explanation for the client.
    """

    outcome: Outcome
    message: str
