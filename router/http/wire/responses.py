"""Whole responses, for the answers that the gateway gives itself."""

from http import HTTPStatus


def response(  # noqa: PLR0913 - the parts of a response
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    headers: bytes = b"",
    close: bool = False,
    head_only: bool = False,
) -> bytes:
    """Return a whole response.

    Args:
        status: the status code.
        body: the body.
        content_type: the body's media type.
        headers: further header lines, each ending in CRLF.
        close: announce that the connection closes after this response.
        head_only: leave the body out, as an answer to HEAD must; its length is still given.
    """
    reason = HTTPStatus(status).phrase.encode()
    return b"".join(
        (
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n" % (status, reason, content_type, len(body)),
            headers,
            b"connection: close\r\n\r\n" if close else b"\r\n",
            b"" if head_only else body,
        )
    )
