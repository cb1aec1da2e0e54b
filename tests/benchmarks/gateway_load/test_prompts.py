"""The loads' prompts are what the benchmark says of them, and the engines' usage follows them."""

from collections import Counter

import msgspec
import pytest

from tests.benchmarks.gateway_load.engine_usage import PromptMemory, contents_of
from tests.benchmarks.gateway_load.prompts import REPEATED, messages_of
from tests.benchmarks.load_plan import LoadPlan, Prompts


def _contents(plan: LoadPlan) -> list[str]:
    return [msgspec.json.decode(messages)[0]["content"] for messages in messages_of(plan)]


@pytest.mark.parametrize("size", [{"words": 40}, {"words": 2000}, {"characters": 100_000}])
def test_different_prompts_share_no_first_word_and_have_the_size_asked_for(size: dict[str, int]) -> None:
    """No prompt of a load, nor of a load with another seed, begins as another does."""
    first = LoadPlan(port=0, requests=200, connections=1, seed=1, **size)  # type: ignore[arg-type]
    prompts = [prompt for plan in (first, msgspec.structs.replace(first, seed=2)) for prompt in _contents(plan)]
    assert len({prompt.split(" ", 1)[0] for prompt in prompts}) == 400
    if "words" in size:
        assert {len(prompt.split(" ")) for prompt in prompts} == {size["words"]}
    else:
        assert {len(prompt) for prompt in prompts} == {size["characters"]}


def test_repeated_prompts_are_the_same_few_whatever_the_seed() -> None:
    """256 prompts, each about as often as the others, the same in every round."""
    plan = LoadPlan(port=0, requests=REPEATED * 20, connections=1, prompts=Prompts.REPEATED)
    counts = Counter(_contents(plan))
    assert len(counts) == REPEATED
    assert max(counts.values()) < 60
    assert set(_contents(msgspec.structs.replace(plan, seed=9))) == set(counts)


def test_an_engine_tells_a_prompt_s_tokens_and_what_it_had_of_it() -> None:
    """Nothing of a new prompt is cached, all whole blocks of a known one, and of a chat what came before."""
    memory = PromptMemory()
    system, asked, more = b"s" * 400, b"a" * 404, b"m" * 84
    assert memory.usage_of([system, asked]) == (201, 0)
    assert memory.usage_of([system, asked]) == (201, 192)
    assert memory.usage_of([system, asked, more]) == (222, 192)
    assert memory.usage_of([b"x" * 400, asked]) == (201, 0)


def test_texts_are_found_in_a_body_however_its_json_is_spaced() -> None:
    """Gateways may write a body anew; what the engine reads of it stays the same."""
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    body = msgspec.json.encode({"model": "m", "messages": messages, "stream": True})
    spaced = body.replace(b":", b": ").replace(b",", b", ")
    assert contents_of(body)[0] == contents_of(spaced)[0] == [b"be brief", b"why?"]
    assert b'"stream": true' in contents_of(spaced)[1]
    assert b"brief" not in contents_of(body)[1]
