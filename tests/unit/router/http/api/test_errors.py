"""Errors have the shape of the API that the request speaks."""

import json

import pytest

from router.http.api.errors import error_body, error_event, speaks_anthropic
from router.outcome import HTTP_STATUS, Outcome


@pytest.mark.parametrize(
    "path", [b"/v1/messages", b"/v1/messages/", b"/v1/messages/count_tokens", b"/v1/messages?beta=true"]
)
def test_messages_have_anthropics_errors(path: bytes) -> None:
    """The shape holds for the path and all below it."""
    body = json.loads(error_body(Outcome.RATE_LIMITED, "too much", path=path, request_id=b"r1"))
    assert body == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "too much"},
        "request_id": "r1",
    }


@pytest.mark.parametrize("path", [b"", b"/v1/chat/completions", b"/v1/messagesx", b"/v1/responses"])
def test_all_others_have_openais(path: bytes) -> None:
    """Message, type, param and code are there; the code is the outcome."""
    assert not speaks_anthropic(path)
    assert json.loads(error_body(Outcome.MODEL_NOT_FOUND, "which?", "model", path=path)) == {
        "error": {"message": "which?", "type": "not_found_error", "param": "model", "code": "model_not_found"}
    }


def test_anthropics_types_are_its_own() -> None:
    """Every outcome has the type that Anthropic's reference gives its status."""
    types = {
        400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
        413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 502: "api_error",
        503: "overloaded_error", 504: "timeout_error",
    }  # fmt: skip
    for outcome, status in HTTP_STATUS.items():
        error = json.loads(error_body(outcome, "x", path=b"/v1/messages"))["error"]
        assert error["type"] == types.get(status, "invalid_request_error")


def test_events_are_what_each_apis_clients_look_for() -> None:
    """Anthropic's clients and those of responses read the event's name, all others its data."""
    name, data, *_ = error_event(Outcome.REPLICA_FAILED, "gone", path=b"/v1/messages").split(b"\n")
    assert name == b"event: error"
    assert json.loads(data[6:])["error"] == {"type": "api_error", "message": "gone"}
    name, data, *_ = error_event(Outcome.REPLICA_FAILED, "gone", path=b"/v1/responses", sequence_number=7).split(b"\n")
    assert name == b"event: error"
    assert json.loads(data[6:]) == {
        "type": "error", "code": "replica_failed", "message": "gone", "param": None, "sequence_number": 7,
    }  # fmt: skip
    event = error_event(Outcome.REPLICA_FAILED, "gone", path=b"/v1/completions")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "replica_failed"
