"""Requests that are refused: OpenAI-shaped errors, the same status from either engine."""

import httpx
import pytest

from tests.engine_contract.served_engine import ServedEngine

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
M = "contract-model"

REFUSED = [
    pytest.param(CHAT, {"model": "other", "messages": HI}, 404, "model", id="unknown model"),
    pytest.param(CHAT, {"model": M}, 400, "body.messages", id="no messages"),
    pytest.param(CHAT, {"model": M, "messages": []}, 400, None, id="empty messages"),
    pytest.param(CHAT, {"model": M, "messages": "Hi"}, 400, "body.messages", id="messages are text"),
    pytest.param(
        CHAT, {"model": M, "messages": HI, "max_tokens": "x"}, 400, "body.max_tokens", id="max_tokens is text"
    ),
    pytest.param(CHAT, {"model": M, "messages": HI, "max_tokens": 0}, 400, "max_tokens", id="max_tokens is 0"),
    pytest.param(CHAT, {"model": M, "messages": HI, "max_tokens": 10**6}, 400, "max_tokens", id="max_tokens is huge"),
    pytest.param(CHAT, {"model": M, "messages": HI, "temperature": -1}, 400, "temperature", id="cold"),
    pytest.param(
        CHAT,
        {"model": M, "messages": HI, "stream_options": {"include_usage": True}},
        400,
        "stream_options",
        id="no stream",
    ),
    pytest.param(CHAT, {"model": M, "messages": HI, "continue_final_message": True}, 400, None, id="continue or begin"),
    pytest.param(CHAT, [1], 400, "body", id="not an object"),
    pytest.param("/v1/completions", {"model": M, "prompt": ""}, 400, "prompt", id="empty prompt"),
    pytest.param("/v1/completions", {"model": M}, 400, "prompt", id="no prompt"),
    pytest.param("/v1/completions", {"model": M, "prompt": ["Hi", [1]]}, 400, "body.prompt.0", id="mixed prompts"),
    pytest.param(CHAT, {"model": M, "messages": HI, "n": 2, "temperature": 0}, 400, None, id="greedy choices"),
    pytest.param(CHAT, {"model": M, "messages": HI, "n": 0}, 400, None, id="no choices"),
    pytest.param("/v1/completions", {"model": M, "prompt": [99_999_999]}, 400, None, id="token outside the vocabulary"),
    pytest.param("/v1/completions", {"model": M, "prompt": "word " * 9000}, 400, "input_tokens", id="too long"),
    pytest.param("/v1/embeddings", {"model": M, "input": "Hi"}, 404, None, id="embeddings of a generating model"),
    pytest.param("/nowhere", {}, 404, None, id="unknown path"),
]


@pytest.mark.parametrize(("path", "body", "status", "param"), REFUSED)
def test_a_bad_request_is_refused(
    engine: ServedEngine, path: str, body: object, status: int, param: str | None
) -> None:
    """Status, `error.code` and `error.param` say what was wrong, in the shape OpenAI clients read."""
    response = engine.post(path, body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status
    assert error["message"]
    assert isinstance(error["type"], str)
    assert error["param"] == param


def test_broken_json_is_refused(engine: ServedEngine) -> None:
    """What is no JSON is a 400, whichever way it is broken."""
    for body in (b"{bad", b"", b'{"model": "contract-model", "messages"', b"\xff\xfe"):
        response = httpx.post(engine.url + CHAT, content=body, headers={"content-type": "application/json"})
        assert (response.status_code, response.json()["error"]["code"]) == (400, 400)


def test_a_wrong_method_is_refused(engine: ServedEngine) -> None:
    """GET where POST is due is a 405."""
    response = httpx.get(f"{engine.url}/v1/completions")
    assert (response.status_code, response.json()["error"]["code"]) == (405, 405)


def test_nothing_is_left_of_refused_requests(engine: ServedEngine) -> None:
    """A refusal takes no place in the engine, and the next request is served."""
    assert engine.chat("Hi", max_tokens=1)["choices"]
    stats = engine.wait_stats(lambda stats: stats["running"] == 0, within_s=1)
    assert (stats["waiting"], stats["waiting_tokens"]) == (0, 0)
