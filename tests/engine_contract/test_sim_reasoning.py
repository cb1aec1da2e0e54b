"""The simulated engine reasons before it answers, as vLLM with a reasoning parser does, and goes on behind that."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.engine_contract.contract_models import SIM
from tests.engine_contract.served_engine import ServedEngine, stream

CHAT = "/v1/chat/completions"
ASK = [{"role": "user", "content": "How many are there?"}]


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """A simulated engine that reasons."""
    sim = SIM.sim.model_copy(update={"reasoning_tokens": 30, "answer_tokens": 12, "inter_token_s": 0.001})
    served = ServedEngine(SIM.model_copy(update={"sim": sim}), tmp_path_factory.mktemp("engine") / "thinker.log")
    try:
        yield served.wait_ready()
    finally:
        served.close()


def _message(answer: dict[str, Any]) -> tuple[str | None, str | None]:
    message = answer["choices"][0]["message"]
    return message["reasoning"], message["content"]


def test_reasoning_comes_apart_from_the_text(thinker: ServedEngine) -> None:
    """In a field of its own, counted beside the tokens of the whole answer."""
    answer = thinker.ok(CHAT, messages=ASK)
    reasoning, content = _message(answer)
    assert reasoning
    assert content
    assert "think" not in reasoning + content
    assert not content.startswith(" ")
    usage = answer["usage"]
    told = usage["completion_tokens_details"]["reasoning_tokens"]
    assert told == len(reasoning.split()) + 1
    assert usage["completion_tokens"] == told + len(content.split()) + 1
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_a_stream_says_the_same(thinker: ServedEngine, client: httpx.AsyncClient) -> None:
    """First the reasoning, then the text."""
    asked = {"include_usage": True, "continuous_usage_stats": True}
    found = await stream(client, thinker, CHAT, messages=ASK, stream_options=asked)
    deltas = [choice["delta"] for event in found.events for choice in event["choices"]]
    kinds = [next(iter(delta)) for delta in deltas[1:] if delta]
    assert kinds == sorted(kinds, reverse=True)
    whole = _message(thinker.ok(CHAT, messages=ASK))
    assert tuple("".join(delta.get(name) or "" for delta in deltas) for name in ("reasoning", "content")) == whole
    assert found.finish_reason() == "stop"
    counts = [event["usage"]["completion_tokens_details"]["reasoning_tokens"] for event in found.events]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1] > 1) == (0, True)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_it_goes_on_behind_reasoning(thinker: ServedEngine, name: str) -> None:
    """The rest of an answer that was cut is what the whole would have had, to the same end."""
    reasoning, content = _message(thinker.ok(CHAT, messages=ASK))
    assert content
    words = content.split(" ")
    begun = {"role": "assistant", name: reasoning, "content": " ".join(words[:3])}
    rest = thinker.ok(CHAT, messages=[*ASK, begun], continue_final_message=True, add_generation_prompt=False)
    assert _message(rest) == (None, "".join(f" {word}" for word in words[3:]))


def test_an_answer_may_end_within_reasoning(thinker: ServedEngine) -> None:
    """Then there is no text."""
    answer = thinker.ok(CHAT, messages=ASK, max_tokens=4)
    reasoning, content = _message(answer)
    assert (len((reasoning or "").split()), content) == (4, None)
    assert answer["choices"][0]["finish_reason"] == "length"


def test_it_may_be_told_not_to_reason(thinker: ServedEngine) -> None:
    """By its effort; `/v1/messages` and `/v1/responses` do not reason."""
    assert _message(thinker.ok(CHAT, messages=ASK, reasoning_effort="none"))[0] is None
    assert thinker.ok("/v1/messages", messages=ASK, max_tokens=5)["content"][0]["type"] == "text"
    assert thinker.ok("/v1/responses", input="Hi", max_output_tokens=5)["output"][0]["type"] == "message"
