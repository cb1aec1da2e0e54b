"""Reads the head of a replica's answer: its status, how its body ends, and which headers the client gets."""

import re
from typing import Final, final

HOP_BY_HOP: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"trailer"})
"""Headers about a single connection (RFC 9110, section 7.6.1); they are not passed on."""
OURS: Final = frozenset(
    {
        b"access-control-allow-credentials",
        b"access-control-allow-headers",
        b"access-control-allow-methods",
        b"access-control-allow-origin",
        b"access-control-expose-headers",
        b"access-control-max-age",
        b"server",
        b"x-accel-buffering",
        b"x-request-id",
    }
)
"""Headers that the gateway alone sets. It decides which origins' pages may read answers."""
NAMES_HOSTS: Final = frozenset({b"alt-svc", b"refresh", b"via"})
"""Headers with hosts that the client is sent to, or that the answer came by (RFC 9110, section 7.6.3): the addresses of
the cluster are nothing to it."""
LOCATIONS: Final = frozenset({b"location", b"content-location"})
"""Headers with a URL, of which the client gets the path alone: it asks the gateway for it."""
BODY_LENGTH: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Headers that say how the body ends."""
_SPECIAL: Final = (
    HOP_BY_HOP
    | OURS
    | NAMES_HOSTS
    | LOCATIONS
    | BODY_LENGTH
    | frozenset({b"content-encoding", b"content-type", b"link", b"x-rackserve-retry"})
)
"""Headers that are not just passed on."""
NO_BODY: Final = frozenset({204, 304})
"""Statuses of answers without a body (RFC 9112, section 6.3)."""
_LINE_OF_NONE: Final = frozenset({b"close", b"keep-alive", b""}) | BODY_LENGTH
"""What `connection` may name without a header to be left behind."""
OK: Final = 200
SWITCHED: Final = 101
_FIRST_FINAL: Final = 200
_FIRST_ERROR: Final = 400
NO_CONTENT: Final = 204

_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_SPACE_BEFORE_COLON: Final = re.compile(rb"(?m)^([!#-'*+.0-9A-Z^-z|~-]+)[ \t]+:")
_AUTHORITY: Final = re.compile(rb"(?:https?:)?//[^/?#]*", re.IGNORECASE)
_OTHER_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")


class HeadError(Exception):
    """The bytes are no head of an HTTP/1.1 response, or the end of its body is ambiguous."""


@final
class ResponseHead:
    """The head of a response.

    Attributes:
        status: the status code.
        is_error: the status says so: it is 400 or more.
        lines: status line and the headers to pass on, each ending in CRLF, without the empty line.
        length: the body's length in bytes, or `CHUNKED` (-1), or `UNTIL_CLOSE` (-2): it ends with the connection.
        keep_alive: the connection can be used again.
        retry_elsewhere: the replica refuses because it is about to stop; another one should be asked.
        is_events: the body is a stream of server-sent events that can be read: it is not compressed.
        coding: what it is compressed with, as `content-encoding` says in lower case; b"": nothing.
    """

    __slots__ = ("coding", "is_error", "is_events", "keep_alive", "length", "lines", "retry_elsewhere", "status")

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        status: int,
        lines: bytes,
        length: int,
        keep_alive: bool,
        retry_elsewhere: bool = False,
        is_events: bool = False,
    ) -> None:
        self.status = status
        self.is_error = status >= _FIRST_ERROR
        self.lines = lines
        self.length = length
        self.keep_alive = keep_alive
        self.retry_elsewhere = retry_elsewhere
        self.is_events = is_events
        self.coding = b""

    @property
    def is_interim(self) -> bool:
        """Whether the real answer is still to come (RFC 9110, section 15.2)."""
        return self.status < _FIRST_FINAL

    def unframed_lines(self) -> bytes:
        """Return `lines` without `transfer-encoding`, for a client that gets the body without its framing."""
        lines = self.lines.split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(b"transfer-encoding:"))


CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2


def parse_head(head: bytes, *, to_head_request: bool) -> ResponseHead:
    """Parse the head of a response.

    Args:
        head: the bytes up to the empty line, without it.
        to_head_request: the request's method was HEAD, so no body follows.

    Raises:
        HeadError: the head is malformed, or the end of its body is ambiguous.
    """
    lines = head.split(b"\r\n")
    parsed = _status(lines[0])
    kept = [b"HTTP/1.1" + lines[0][8:]]
    named: list[bytes] = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if name in _SPECIAL:
            if name == b"content-length" and parsed.length == UNTIL_CLOSE and (digits := value.strip()).isdigit():
                parsed.length = int(digits)  # as nearly every answer has it: without a further call
                kept.append(line)
                continue
            if name == b"connection":
                named += value.lower().split(b",")
                continue
            passed_on = _special(parsed, name, line, value.strip())
            if passed_on:
                kept.append(passed_on)
        elif not colon or name[:1] in b" \t" or name[-1:] in b" \t":
            return _parse_odd(head, line, to_head_request=to_head_request)
        else:
            kept.append(line)
    if head.count(b"\n") >= len(lines):
        raise HeadError("a line ends without CR")
    if named:
        _leave_behind(parsed, kept, {name.strip() for name in named})
    _end_body(parsed, kept, to_head_request=to_head_request)
    kept.append(b"")
    parsed.lines = b"\r\n".join(kept)
    return parsed


def _status(line: bytes) -> ResponseHead:
    """Return a head with the status of its first line."""
    if line[:7] != b"HTTP/1." or line[8:9] != b" " or not line[9:12].isdigit() or line[12:13] not in (b" ", b""):
        raise HeadError(f"{line[:80]!r} is no status line")
    status = int(line[9:12])
    if not 100 <= status <= 599:  # noqa: PLR2004 - RFC 9110, section 15: others are invalid
        raise HeadError(f"there is no status {status}")
    return ResponseHead(status, b"", UNTIL_CLOSE, line[7:8] == b"1")


def _special(head: ResponseHead, name: bytes, line: bytes, value: bytes) -> bytes:
    """Note what one of the `_SPECIAL` headers says; return the line to pass on, b"" for none."""
    if name == b"content-type":
        head.is_events = value[:17].lower() == b"text/event-stream" and not head.coding
        return line
    if name == b"content-encoding":
        head.coding = b"" if value.lower() == b"identity" else value.lower()
        head.is_events = head.is_events and not head.coding
        return line
    if name in BODY_LENGTH:
        known = head.length
        head.length = _body_length(name, value.lower(), known)
        return line if known == UNTIL_CLOSE else b""
    if name in LOCATIONS:
        path = _without_authority(value)
        return line[: len(name)] + b": " + path if path else b""
    if name == b"link":
        return b"" if b"//" in value else line
    if name == b"x-rackserve-retry":
        head.retry_elsewhere = True
    return b""


def _body_length(name: bytes, value: bytes, known: int) -> int:
    """Return the body's length, as in `ResponseHead.length`, after one more of the `BODY_LENGTH` headers."""
    if name == b"content-length":
        if not value.isdigit() or known not in (UNTIL_CLOSE, int(value)):
            raise HeadError(f"content-length {value[:40]!r} is no number, or stands beside another")
        return int(value)
    if value != b"chunked" or known != UNTIL_CLOSE:
        raise HeadError(f"transfer-encoding {value[:40]!r}: only chunked, once, is understood")
    return CHUNKED


def _without_authority(url: bytes) -> bytes:
    """Return the path, query and fragment of a URL; b"" if it is no web address."""
    authority = _AUTHORITY.match(url)
    if authority is None:
        return b"" if _OTHER_SCHEME.match(url) else url
    return b"/" + url[authority.end() :].lstrip(b"/")  # two slashes would begin an authority again


def _leave_behind(head: ResponseHead, kept: list[bytes], named: set[bytes]) -> None:
    """Drop the headers that `connection` names, as they are about this connection alone."""
    if b"close" in named:
        head.keep_alive = False
    named -= _LINE_OF_NONE
    if named:
        kept[1:] = [line for line in kept[1:] if line.partition(b":")[0].lower() not in named]


def _end_body(head: ResponseHead, kept: list[bytes], *, to_head_request: bool) -> None:
    """Set the length of a body that the status or the request's method decides."""
    if head.status in (SWITCHED, NO_CONTENT):  # no such answer may say a length (RFC 9110, section 8.6)
        kept[1:] = [line for line in kept[1:] if line.partition(b":")[0].lower() not in BODY_LENGTH]
    if head.status == SWITCHED:
        head.length = UNTIL_CLOSE
    elif to_head_request or head.status in NO_BODY:
        head.length = 0
    head.keep_alive = head.keep_alive and head.length != UNTIL_CLOSE


def _parse_odd(head: bytes, line: bytes, *, to_head_request: bool) -> ResponseHead:
    """Parse a head after joining folded lines and taking out spaces before colons (RFC 9112, sections 5.1 and 5.2)."""
    if head[head.find(b"\n") + 1 :][:1] in b" \t":
        raise HeadError("the first header begins with a space")
    plain = _SPACE_BEFORE_COLON.sub(rb"\1:", _FOLD.sub(b" ", head))
    if plain == head:
        raise HeadError(f"{line[:80]!r} is no header")
    return parse_head(plain, to_head_request=to_head_request)
