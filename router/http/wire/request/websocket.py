"""The handshake of a WebSocket, as it passes through: the gateway looks at no frame (RFC 6455, section 4)."""

from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.response_head import ResponseHead

_KEY_PREFIX = b"openai-insecure-api-key."
"""How pages in browsers, which cannot set headers of a WebSocket, send an API key to OpenAI: as a subprotocol."""
_PASSED_ON = (
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-protocol",
    b"sec-websocket-version",
)


def take_key(headers: dict[bytes, bytes]) -> None:
    """Move an API key from the subprotocols, which the replica sees, to `authorization`, which it does not see."""
    offered = [name.strip() for name in headers.get(b"sec-websocket-protocol", b"").split(b",")]
    keys = [name.removeprefix(_KEY_PREFIX) for name in offered if name.startswith(_KEY_PREFIX)]
    if not keys:
        return
    headers[b"sec-websocket-protocol"] = b", ".join(name for name in offered if not name.startswith(_KEY_PREFIX))
    headers.setdefault(b"authorization", b"Bearer " + keys[0])


def opening_head(
    incoming: IncomingRequest, path_prefix: bytes, head_end: bytes, forwarded: tuple[bytes, ...], request_id: bytes
) -> bytes:
    """Return the head with which a replica is asked for a WebSocket.

    Args:
        incoming: the client's request.
        path_prefix: what stands before the path at that replica.
        head_end: the part of the head that is the same for every request to that replica, see `ReplicaRoute`.
        forwarded: names of the headers that are passed on to it.
        request_id: the request's id.
    """
    parts = [b"GET ", path_prefix, incoming.url, head_end, request_id, b"\r\nconnection: Upgrade\r\nupgrade: websocket"]
    for name in (*_PASSED_ON, *forwarded):
        value = incoming.headers.get(name)
        if value:
            parts += (b"\r\n", name, b": ", value)
    parts.append(b"\r\n\r\n")
    return b"".join(parts)


def accepting_head(head: ResponseHead, own_headers: bytes) -> bytes:
    """Return the client's 101, made of the replica's and of the gateway's own header lines."""
    return b"".join((head.lines, own_headers, b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"))
