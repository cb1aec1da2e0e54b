"""Requests that are refused: OpenAI-shaped errors, the same status from either engine."""

import httpx
import pytest
from _pytest.mark import ParameterSet

from tests.engine_contract.served_engine import ServedEngine

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "Hi"}]
M = "contract-model"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def schema_format(schema: object) -> dict[str, object]:
    """Return a `response_format` with a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _refused_chats(cases: dict[str, tuple[dict[str, object], str | None]]) -> list[ParameterSet]:
    return [
        pytest.param(CHAT, {"model": M, "messages": HI, **wrong}, 400, param, id=name)
        for name, (wrong, param) in cases.items()
    ]


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
    *_refused_chats(
        {
            "hot": ({"temperature": 2.5}, "temperature"),
            "temperature is text": ({"temperature": "hot"}, "body.temperature"),
            "top_p above 1": ({"top_p": 1.5}, "top_p"),
            "top_p is 0": ({"top_p": 0}, "top_p"),
            "top_k": ({"top_k": -5}, None),
            "min_p": ({"min_p": 2}, None),
            "presence": ({"presence_penalty": 3}, None),
            "frequency": ({"frequency_penalty": -3}, None),
            "repetition": ({"repetition_penalty": 0}, None),
            "n is text": ({"n": "two"}, "body.n"),
            "n is huge": ({"n": 10**5}, None),
            "max_completion_tokens": ({"max_completion_tokens": 0}, "max_tokens"),
            "fraction of a token": ({"max_tokens": 2.5}, "body.max_tokens"),
            "min_tokens": ({"max_tokens": 8, "min_tokens": 20}, None),
            "negative min_tokens": ({"min_tokens": -1}, None),
            "too many alternatives": ({"logprobs": True, "top_logprobs": 100}, "logprobs"),
            "alternatives alone": ({"top_logprobs": 2}, "top_logprobs"),
            "negative alternatives": ({"logprobs": True, "top_logprobs": -3}, "top_logprobs"),
            "prompt_logprobs of a stream": ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
            "too many stops": ({"stop": ["a"] * 20}, "body.stop"),
            "an empty stop": ({"stop": ""}, None),
            "stop is a number": ({"stop": 5}, "body.stop"),
            "seed is text": ({"seed": "x"}, "body.seed"),
            "seed is huge": ({"seed": 2**70}, "body.seed"),
            "stream is unclear": ({"stream": "maybe"}, "body.stream"),
            "stream_options is a number": ({"stream": True, "stream_options": 5}, "body.stream_options"),
            "bias of a word": ({"logit_bias": {"a": 5}}, "logit_bias"),
            "bias outside the vocabulary": ({"logit_bias": {"99999999": 5}}, "logit_bias"),
            "an empty salt": ({"cache_salt": ""}, "cache_salt"),
            "salt is a number": ({"cache_salt": 5}, "cache_salt"),
            "no token allowed": ({"allowed_token_ids": []}, "allowed_token_ids"),
            "user is a number": ({"user": 5}, "body.user"),
            "effort": ({"reasoning_effort": "huge"}, "body.reasoning_effort"),
            "model is a number": ({"model": 5}, "body.model"),
            "an image": ({"messages": [{"role": "user", "content": [IMAGE]}]}, None),
            "tools are text": ({"tools": "x"}, "body.tools"),
            "a tool without function": ({"tools": [{"type": "function"}]}, "body.tools.0.function"),
            "no tools": ({"tools": []}, "tools"),
            "required without tools": ({"tool_choice": "required"}, "tool_choice"),
            "an unknown choice": ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
            "an unknown tool": (
                {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
                "tool_choice",
            ),
            "an unknown format": ({"response_format": {"type": "yaml"}}, "body.response_format.type"),
            "a format without schema": ({"response_format": {"type": "json_schema"}}, "response_format"),
            "a schema of no type": ({"response_format": schema_format({"type": "strange"})}, None),
            "two forms": ({"structured_outputs": {"json": {}, "regex": "a"}}, None),
            "no form": ({"structured_outputs": {}}, None),
            "a broken regex": ({"structured_outputs": {"regex": "(["}}, None),
            "no choice": ({"structured_outputs": {"choice": []}}, None),
        }
    ),
    pytest.param("/v1/completions", {"model": M, "prompt": "a", "logprobs": 100}, 400, "logprobs", id="logprobs"),
    pytest.param("/v1/completions", {"model": M, "prompt": [""]}, 400, None, id="an empty prompt of several"),
    pytest.param("/v1/completions", {"model": M, "prompt": 5}, 400, "body.prompt", id="prompt is a number"),
    pytest.param("/v1/responses", {"model": "other", "input": "a"}, 404, "model", id="response of another model"),
    pytest.param("/v1/responses", {"model": M}, 400, "body.input", id="no input"),
    pytest.param("/v1/responses", {"model": M, "input": 5}, 400, "body.input", id="input is a number"),
    pytest.param("/v1/responses", {"model": M, "input": []}, 400, None, id="empty input"),
    pytest.param(
        "/v1/responses", {"model": M, "input": "a", "temperature": -1}, 400, "temperature", id="cold response"
    ),
    pytest.param(
        "/v1/responses", {"model": M, "input": "a", "max_output_tokens": 10**6}, 400, "max_output_tokens", id="huge"
    ),
    pytest.param(
        "/v1/responses", {"model": M, "input": "a", "tool_choice": "required"}, 400, "tool_choice", id="no tools there"
    ),
    pytest.param(
        "/v1/responses",
        {"model": M, "input": "a", "background": True, "store": False},
        400,
        "background",
        id="unstored",
    ),
    pytest.param("/v1/responses", {"model": M, "input": "a", "prompt": {"id": "x"}}, 400, "prompt", id="template"),
    pytest.param("/tokenize", {"model": M}, 400, "body.prompt", id="nothing to tokenize"),
    pytest.param("/tokenize", {"model": "other", "prompt": "a"}, 404, "model", id="tokens of another model"),
    pytest.param("/detokenize", {"model": M}, 400, "body.tokens", id="nothing to detokenize"),
    pytest.param("/detokenize", {"model": M, "tokens": [-1]}, 400, "body.tokens.0", id="a negative token"),
    pytest.param("/v1/messages", {"model": M, "messages": HI}, 400, "body.max_tokens", id="message without max_tokens"),
    pytest.param(
        "/v1/messages",
        {"model": M, "max_tokens": 1, "messages": [{"role": "wizard", "content": "a"}]},
        400,
        "body.messages.0.role",
        id="message of nobody",
    ),
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


REFUSED_MESSAGES = {
    "unknown model": ({"model": "other"}, 404),
    "no messages": ({"messages": []}, 400),
    "cold": ({"temperature": -1}, 400),
    "too long": ({"max_tokens": 10**6}, 400),
    "an unknown tool": (
        {"tools": [{"name": "look", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "other"}},
        400,
    ),
    "an image": (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "AAAA"}}]}]},
        400,
    ),
    "of a stream": ({"stream": True, "top_p": 3}, 400),
}


@pytest.mark.parametrize(("wrong", "status"), REFUSED_MESSAGES.values(), ids=REFUSED_MESSAGES)
def test_a_bad_message_is_refused_in_its_apis_form(engine: ServedEngine, wrong: dict[str, object], status: int) -> None:
    """`/v1/messages` words errors as Anthropic's SDK reads them."""
    response = engine.post("/v1/messages", {"model": M, "messages": HI, "max_tokens": 4, **wrong})
    assert response.status_code == status, response.text
    found = response.json()
    assert found["type"] == "error"
    assert found["error"]["type"]
    assert found["error"]["message"]


@pytest.mark.parametrize("value", [{"stream": "true"}, {"max_tokens": "3"}, {"max_tokens": 3.0}, {"unknown": 1}])
def test_lenient_spellings_are_taken(engine: ServedEngine, value: dict[str, object]) -> None:
    """Booleans and numbers as text, whole numbers with a fraction, and unknown fields are no errors."""
    response = engine.post(CHAT, {"model": M, "messages": HI, "max_tokens": 2, **value})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream") == ("stream" in value)
