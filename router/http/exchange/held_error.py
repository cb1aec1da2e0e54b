"""A replica's error answer to a client of Anthropic's API: held until it is whole, as it may need that API's shape."""

from collections.abc import Callable
from http import HTTPStatus

from router.http.api.errors import as_anthropic, speaks_anthropic
from router.http.wire.chunked import ChunkedError, payload
from router.http.wire.response_head import BODY_LENGTH, CHUNKED, ResponseHead

MAX_HELD_BYTES = 64 * 1024
"""Size above which an error is passed on as it comes."""


def is_held(head: ResponseHead, path: bytes) -> bool:
    """Return whether an answer is an error to hold: with a body that can be read, under Anthropic's paths."""
    return (
        head.status >= HTTPStatus.BAD_REQUEST
        and head.length != 0
        and head.length <= MAX_HELD_BYTES
        and not head.is_events
        and not head.coding
        and speaks_anthropic(path)
    )


class HeldError:
    """Collects the body of an error, then writes the whole answer. A body of any other shape stays as it is.

    Args:
        write: writes to the client.
        write_body: takes a body as the replica sends it, and writes it to the client as that can read it.
        head: the replica's head.
        lines: its status line and headers, for this client.
        rest: the lines that the gateway adds, and the end of the head.
        request_id: the request's id.
    """

    __slots__ = ("_body", "_head", "_is_held", "_lines", "_request_id", "_rest", "_write", "_write_body")

    def __init__(  # noqa: PLR0913, PLR0917 - what an answer is made of
        self,
        write: Callable[[bytes], object],
        write_body: Callable[[bytes], object],
        head: ResponseHead,
        lines: bytes,
        rest: bytes,
        request_id: str,
    ) -> None:
        self._write = write
        self._write_body = write_body
        self._head = head
        self._lines = lines
        self._rest = rest
        self._request_id = request_id.encode()
        self._body = b""
        self._is_held = True

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if not self._is_held:
            self._write_body(data)
            return
        self._body += data
        if len(self._body) > MAX_HELD_BYTES:
            self.pass_on()

    def pass_on(self) -> None:
        """Write what has come as it came, as it is too long, or its end will not come; do nothing if that is done."""
        if self._is_held:
            self._is_held = False
            self._write(self._lines + self._rest)
            self._write_body(self._body)

    def end(self) -> None:
        """Write the answer, as its body is complete."""
        if not self._is_held:
            return
        try:
            body = payload(self._body) if self._head.length == CHUNKED else self._body
        except ChunkedError:
            self.pass_on()
            return
        self._is_held = False
        body = as_anthropic(self._head.status, body, self._request_id) or body
        named = (line for line in self._lines.split(b"\r\n") if line.partition(b":")[0].lower() not in BODY_LENGTH)
        length = b"content-length: %d\r\n" % len(body)
        self._write(b"".join((b"\r\n".join(named), length, self._rest, body)))
