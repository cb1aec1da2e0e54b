"""Answers that the gateway gives itself: errors in OpenAI's shape, and small bodies."""

from http import HTTPStatus

import msgspec

from router.outcome import HTTP_STATUS, Outcome

_encoder = msgspec.json.Encoder()

_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_SERVER_ERROR = 500


def error_body(outcome: Outcome, message: str, param: str | None = None) -> bytes:
    """Return an error in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`; `code` is the outcome."""
    status = HTTP_STATUS[outcome]
    kind = "server_error" if status >= _SERVER_ERROR else _ERROR_TYPES.get(status, "invalid_request_error")
    return _encoder.encode({"error": {"message": message, "type": kind, "param": param, "code": str(outcome)}})


def error_event(outcome: Outcome, message: str) -> bytes:
    """Return an error as one server-sent event, for a stream that has already begun."""
    return b"data: " + error_body(outcome, message) + b"\n\n"


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
