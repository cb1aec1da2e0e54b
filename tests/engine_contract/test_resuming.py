"""A stream that is cut goes on at the engine: it has the tokens that were asked for, and ends where it should."""

from typing import Any

import pytest

from tests.engine_contract.cut_copies import check_copy, routed
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.gateway.cut_relay import relay, usage_of

TOKENS = 48
PATH = "/v1/chat/completions"
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me a long story of a river and a town."}],
    "max_tokens": TOKENS,
    "ignore_eos": True,
}


@pytest.mark.parametrize("cuts", [1, 2, 3])
async def test_the_tokens_are_those_asked_for(engine: ServedEngine, cuts: int) -> None:
    """However often it is cut: `max_tokens` and the usage are exact, and the prompt counts once."""
    right = engine.ok(PATH, **ASKED)
    async with relay(engine, routed(engine), cuts, events=8) as between:
        streamed = await between.ask(PATH, **ASKED)
        counted = await between.completion_tokens()
        assert between.cuts.left == 0
    usage = usage_of(streamed)
    assert streamed.finish_reason() == "length"
    assert usage["completion_tokens"] == right["usage"]["completion_tokens"] == TOKENS == counted
    assert usage["prompt_tokens"] == right["usage"]["prompt_tokens"]
    said = {"model": engine.model.name, "prompt": streamed.text(), "add_special_tokens": False}
    if engine.model.engine == "vllm":  # a simulated token has no fixed text
        assert abs(engine.post("/tokenize", said).json()["count"] - TOKENS) <= cuts


async def test_a_stop_string_ends_a_stream_that_was_cut(engine: ServedEngine) -> None:
    """No part of it is sent, and what is before it is all there."""
    text = engine.ok(PATH, **ASKED)["choices"][0]["message"]["content"]
    stop = text[-12:-2]
    async with relay(engine, routed(engine), 1, events=8) as between:
        streamed = await between.ask(PATH, **{**ASKED, "max_tokens": 8 * TOKENS, "stop": stop})
        assert between.cuts.left == 0
    assert stop not in streamed.text()
    if streamed.text() == text[: text.index(stop)]:  # a real model may go on in other words after a cut
        assert streamed.finish_reason() == "stop"
    else:
        assert engine.model.engine == "vllm"


@pytest.mark.parametrize("cuts", [1, 2, 3])
async def test_a_copy_that_was_cut_ends_as_one_that_was_not(engine: ServedEngine, cuts: int) -> None:
    """Where a text has one way on everything is equal, by `max_tokens` and by `stop`: letters, ends, and the usage."""
    await check_copy(engine, cuts, events=12)
