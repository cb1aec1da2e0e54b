"""Whole responses, for the answers that the gateway gives itself."""

from http import HTTPStatus
from typing import Final

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""An interim answer, which says that the real one is still to come (RFC 9110, section 15.2.1)."""


def connection_lines(*, keep_alive: bool, http_1_0: bool) -> bytes:
    """Return the header line that tells whether the connection stays open, b"" where HTTP/1.1 lets it go without."""
    if not keep_alive:
        return b"connection: close\r\n"
    return b"connection: keep-alive\r\n" if http_1_0 else b""


def response(  # noqa: PLR0913 - the parts of a response
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    headers: bytes = b"",
    close: bool = False,
    http_1_0: bool = False,
    head_only: bool = False,
) -> bytes:
    """Return a whole response.

    Args:
        status: the status code.
        body: the body.
        content_type: the body's media type.
        headers: further header lines, each ending in CRLF.
        close: announce that the connection closes after this response.
        http_1_0: the client speaks HTTP/1.0, so it must be told if the connection stays open.
        head_only: leave the body out, as an answer to HEAD must; its length is still given.
    """
    reason = HTTPStatus(status).phrase.encode()
    return b"".join(
        (
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n" % (status, reason, content_type, len(body)),
            headers,
            connection_lines(keep_alive=not close, http_1_0=http_1_0),
            b"\r\n",
            b"" if head_only else body,
        )
    )
