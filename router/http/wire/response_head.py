"""Reads the head of a replica's answer: its status, how its body ends, and which headers the client gets."""

import msgspec

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"trailer"})
"""Headers about a single connection (RFC 9110, section 7.6.1); they are not passed on."""
OURS = frozenset({b"x-request-id", b"server"})
"""Headers that the gateway sets itself."""
NO_BODY = frozenset({204, 304})
"""Statuses of answers without a body (RFC 9112, section 6.3)."""


class HeadError(Exception):
    """The bytes are no head of an HTTP/1.1 response, or the end of its body is ambiguous."""


class ResponseHead(msgspec.Struct, gc=False):
    """The head of a response.

    Attributes:
        status: the status code.
        lines: status line and the headers to pass on, each ending in CRLF, without the empty line.
        length: the body's length in bytes, or `CHUNKED` (-1), or `UNTIL_CLOSE` (-2): it ends with the connection.
        keep_alive: the connection can be used again.
        retry_elsewhere: the replica refuses because it is about to stop; another one should be asked.
    """

    status: int
    lines: bytes
    length: int
    keep_alive: bool
    retry_elsewhere: bool


CHUNKED = -1
UNTIL_CLOSE = -2
BODY_LENGTH = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say how the body ends."""


def _body_length(name: bytes, value: bytes, known: int) -> int:
    """Return the body's length, as in `ResponseHead.length`, after one more of the `BODY_LENGTH` headers."""
    if name == b"content-length":
        if not value.isdigit() or known not in (UNTIL_CLOSE, int(value)):
            raise HeadError(f"content-length {value[:40]!r} is no number, or stands beside another")
        return int(value)
    if value != b"chunked" or known != UNTIL_CLOSE:
        raise HeadError(f"transfer-encoding {value[:40]!r}: only chunked, once, is understood")
    return CHUNKED


def parse_head(head: bytes, *, to_head_request: bool) -> ResponseHead:
    """Parse the head of a response.

    Args:
        head: the bytes up to the empty line, without it.
        to_head_request: the request's method was HEAD, so no body follows.

    Raises:
        HeadError: the head is malformed, or the end of its body is ambiguous.
    """
    lines = head.split(b"\r\n")
    status_line = lines[0]
    if status_line[:7] != b"HTTP/1." or status_line[8:9] != b" " or not status_line[9:12].isdigit():
        raise HeadError(f"{status_line[:80]!r} is no status line")
    status = int(status_line[9:12])
    keep_alive = status_line[7:8] == b"1"
    length = UNTIL_CLOSE
    retry_elsewhere = False
    kept = [b"HTTP/1.1" + status_line[8:]]
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or name[:1] in b" \t" or name[-1:] in b" \t":
            raise HeadError(f"{line[:80]!r} is no header")
        if name in BODY_LENGTH:
            length = _body_length(name, value.strip().lower(), length)
        elif name == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
            continue
        elif name in HOP_BY_HOP or name in OURS:
            continue
        elif name == b"x-rackserve-retry":
            retry_elsewhere = True
            continue
        kept.append(line)
    kept.append(b"")
    if to_head_request or status in NO_BODY:
        length = 0
    return ResponseHead(status, b"\r\n".join(kept), length, keep_alive and length != UNTIL_CLOSE, retry_elsewhere)
