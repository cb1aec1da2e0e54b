"""Errors that the gateway gives itself, in the shape of the API that the request speaks."""

from collections.abc import Container
from typing import Final

import msgspec

from router.outcome import HTTP_STATUS, Outcome

MESSAGES: Final = b"/v1/messages"
"""Anthropic's API. It and everything below it, such as `/v1/messages/count_tokens`, has that API's errors."""
RESPONSES: Final = b"/v1/responses"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

_SERVER_ERROR = 500
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Types by HTTP status, from Anthropic's API reference, page "Errors"; all others are `invalid_request_error`, from 500
on `api_error`. 529, its own status for `overloaded_error`, is 503 where the gateway itself refuses."""
MODELS: Final = b"/v1/models"
"""Path of the list of models; a model's own path is below it."""


def speaks_anthropic(path: bytes) -> bool:
    """Return whether a path belongs to Anthropic's API."""
    return path.startswith(MESSAGES) and path[len(MESSAGES) :][:1] in (b"", b"/", b"?")


def shape_path(path: bytes, headers: Container[bytes]) -> bytes:
    """Return a path whose API has the errors for a request: `/v1/models` belongs to both, as its headers say."""
    is_shared = path.startswith(MODELS) and path[len(MODELS) :][:1] in (b"", b"/")
    return MESSAGES if is_shared and b"anthropic-version" in headers else path


def as_anthropic(status: int, body: bytes, request_id: bytes) -> bytes | None:
    """Return a replica's error of OpenAI's shape in Anthropic's; None: the body is no such error, so it stays as it is.

    Args:
        status: the answer's status.
        body: its whole body: `{"error": {"message": …}}`, or vLLM's older `{"object": "error", "message": …}`.
        request_id: the request's id.
    """
    try:
        answer = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(answer, dict) or answer.get("type") == "error":
        return None
    error = answer.get("error") or (answer if answer.get("object") == "error" else None)
    message = error.get("message") if isinstance(error, dict) else error
    return _anthropic_body(status, message, request_id) if isinstance(message, str) else None


def _anthropic_body(status: int, message: str, request_id: bytes) -> bytes:
    kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= _SERVER_ERROR else "invalid_request_error")
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return _encoder.encode(body | {"request_id": request_id.decode("latin-1")} if request_id else body)


def error_body(
    outcome: Outcome, message: str, param: str | None = None, *, path: bytes = b"", request_id: bytes = b""
) -> bytes:
    """Return an error as a JSON body.

    OpenAI's shape is `{"error": {"message", "type", "param", "code"}}`, with the outcome as `code`. Anthropic's is
    `{"type": "error", "error": {"type", "message"}, "request_id"}`.

    Args:
        outcome: what happened.
        message: what was wrong and what would be right.
        param: the body's field that is wrong; None: the error is about no field.
        path: the request's path, which says whose shape the error has.
        request_id: the request's id; b"": it has none.
    """
    status = HTTP_STATUS[outcome]
    if speaks_anthropic(path):
        return _anthropic_body(status, message, request_id)
    kind = "server_error" if status >= _SERVER_ERROR else _OPENAI_TYPES.get(status, "invalid_request_error")
    return _encoder.encode({"error": {"message": message, "type": kind, "param": param, "code": str(outcome)}})


def error_event(
    outcome: Outcome, message: str, *, path: bytes = b"", request_id: bytes = b"", sequence_number: int = 0
) -> bytes:
    """Return an error as one server-sent event, for a stream that has already begun.

    Anthropic's clients and those of `/v1/responses` look at the event's name, all others at its data. For the other
    arguments see `error_body`.

    Args:
        outcome: what happened.
        message: what happened, for the client.
        path: the request's path.
        request_id: the request's id.
        sequence_number: number of the event; events of `/v1/responses` alone have one.
    """
    if speaks_anthropic(path):
        return b"event: error\ndata: %s\n\n" % error_body(outcome, message, path=path, request_id=request_id)
    if path == RESPONSES:
        error = {"type": "error", "code": str(outcome), "message": message, "param": None}
        return b"event: error\ndata: %s\n\n" % _encoder.encode(error | {"sequence_number": sequence_number})
    return b"data: %s\n\n" % error_body(outcome, message)
