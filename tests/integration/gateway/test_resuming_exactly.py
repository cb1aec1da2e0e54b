"""A stream that is cut once, twice or three times is the one that one engine gives: text, tokens, stop strings, usage.

Its events carry several tokens each, and where it has stop strings the engine holds back the end of its text.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.gateway.cut_relay import relay, usage_of

TOKENS = 120
MODEL = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "policy": "round_robin",
        "speculative": {"method": "ngram", "tokens": 3},
        "sim": {"acceptance": 0.8, "draft_share": 0.9, "inter_token_s": 0.004},
    }
)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "Once upon a time"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Tell me of rivers"}]},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine that drafts."""
    served = ServedEngine(MODEL, tmp_path_factory.mktemp("engine") / "log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


@pytest.mark.parametrize("cuts", [1, 2, 3])
@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stop", [None, "never said", "a word of the text"])
async def test_a_cut_stream_is_the_whole_one(engine: ServedEngine, path: str, cuts: int, stop: str | None) -> None:
    """The client cannot tell it from one engine's answer, nor can what is counted."""
    asked: dict[str, Any] = {**BODIES[path], "max_tokens": TOKENS, "ignore_eos": True}
    if stop is not None:
        asked["stop"] = stop
    if stop == "a word of the text":
        text = _text_of(engine.ok(path, **{**asked, "stop": None}))
        place = len(text) * 4 // 5
        asked["stop"] = next(text[at : at + 9] for at in range(place, len(text)) if text.index(text[at : at + 9]) == at)
    await _check_as_uncut(engine, path, asked, cuts, events=8)


@pytest.mark.parametrize("path", BODIES)
async def test_a_cut_after_any_event_changes_nothing(engine: ServedEngine, path: str) -> None:
    """Whatever is held back then, up to 15 characters: the end of a word, or of an event, or nothing."""
    asked: dict[str, Any] = {
        **BODIES[path],
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stop": ["never said by it", "?"],
    }
    for events in range(1, 25):
        await _check_as_uncut(engine, path, asked, min(3, 30 // events), events)


async def _check_as_uncut(engine: ServedEngine, path: str, asked: dict[str, Any], cuts: int, events: int) -> None:
    """Assert that a stream which is cut so often, after so many events each, is the engine's own answer."""
    right = engine.ok(path, **asked)
    async with relay(engine, MODEL, cuts, events) as between:
        streamed = await between.ask(path, **asked)
        counted = await between.completion_tokens()
        assert between.cuts.left == 0
        assert [row["outcome"] for row in between.gateway.state()["outcomes"]] == ["ok"]
    assert streamed.done
    assert streamed.text() == _text_of(right)
    assert streamed.finish_reason() == right["choices"][0]["finish_reason"]
    usage = usage_of(streamed)
    for kind in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert usage[kind] == right["usage"][kind]
    assert counted == usage["completion_tokens"]


def _text_of(answer: dict[str, Any]) -> str:
    choice = answer["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


@pytest.mark.parametrize("temperature", [0, 1])
async def test_a_stop_string_that_was_begun_is_not_lost(engine: ServedEngine, temperature: int) -> None:
    """With `include_stop_str_in_output` its beginning is sent at once; the next engine repeats it, and so knows it.

    An engine that draws its words would say others, so nobody else is asked to go on then.
    """
    path = "/v1/completions"
    asked: dict[str, Any] = {**BODIES[path], "max_tokens": TOKENS, "ignore_eos": True}
    text = _text_of(engine.ok(path, **asked))
    asked |= {"include_stop_str_in_output": True, "temperature": temperature}
    endings = set()
    for at in range(80, 120, 4):
        asked["stop"] = text[at : at + 30]
        async with relay(engine, MODEL, 1, events=8) as between:
            streamed = await between.ask(path, **asked)
        said = "".join(event["choices"][0]["text"] for event in streamed.events if event.get("choices"))
        has_failed = any("error" in event for event in streamed.events)
        assert said == text[: len(said)]
        assert has_failed or said.endswith(text[at : at + 30])
        endings.add(has_failed)
    assert endings == ({False, True} if temperature else {False})
