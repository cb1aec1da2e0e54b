"""A replica's error answer to a client of Anthropic's API: held until it is whole, as it may need that API's shape."""

from collections.abc import Callable
from http import HTTPStatus

from router.http.api.errors import as_anthropic, speaks_anthropic
from router.http.wire.response_head import ResponseHead

MAX_HELD_BYTES = 64 * 1024
"""Size above which an error is passed on as it comes."""


def is_held(head: ResponseHead, path: bytes) -> bool:
    """Return whether an answer is an error to hold: of a known, small size, under Anthropic's paths."""
    return (
        head.status >= HTTPStatus.BAD_REQUEST
        and 0 < head.length <= MAX_HELD_BYTES
        and not head.is_events
        and speaks_anthropic(path)
    )


class HeldError:
    """Collects the body of an error, then writes the whole answer. A body of any other shape is written as it came.

    Args:
        write: writes to the client.
        head: the replica's head.
        lines: its status line and headers, for this client.
        rest: the lines that the gateway adds, and the end of the head.
        request_id: the request's id.
    """

    __slots__ = ("_body", "_head", "_lines", "_request_id", "_rest", "_write")

    def __init__(
        self, write: Callable[[bytes], object], head: ResponseHead, lines: bytes, rest: bytes, request_id: str
    ) -> None:
        self._write = write
        self._head = head
        self._lines = lines
        self._rest = rest
        self._request_id = request_id.encode()
        self._body = b""

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._body += data
        if len(self._body) < self._head.length:
            return
        body = as_anthropic(self._head.status, self._body, self._request_id)
        lines = self._lines
        if body is None:
            body = self._body
        else:
            kept = (line for line in lines.split(b"\r\n") if not line.lower().startswith(b"content-length:"))
            lines = b"\r\n".join(kept) + b"content-length: %d\r\n" % len(body)
        self._write(b"".join((lines, self._rest, body)))
