"""The prefix cache, as responses, events and evictions tell of it."""

import time
from typing import Any

import pytest

from tests.engine_contract.served_engine import ServedEngine

BLOCK = 32


def prompt_ids(seed: int, tokens: int) -> list[int]:
    """Return a prompt like no other test's."""
    return [1000 + (seed * 7919 + position * 31) % 20_000 for position in range(tokens)]


def events_after(engine: ServedEngine, wanted: int = 0, kind: str = "BlockStored") -> list[tuple[str, dict[str, Any]]]:
    """Return the events since the last call; waits until `wanted` of `kind` are among them."""
    found: list[tuple[str, dict[str, Any]]] = []
    give_up = time.monotonic() + 2
    while True:
        found += [(name, fields) for name, fields in engine.view("events")]
        if sum(name == kind for name, _ in found) >= wanted:
            return found
        assert time.monotonic() < give_up, f"no {wanted} {kind} in {[name for name, _ in found]}"
        time.sleep(0.02)


def cached_tokens(answer: dict[str, Any]) -> int:
    """Return how much of the prompt was found in the cache."""
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


@pytest.mark.parametrize(("tokens", "cached"), [(31, 0), (33, 32), (64, 32), (65, 64), (150, 128)])
def test_full_blocks_before_the_last_token_are_cached(engine: ServedEngine, tokens: int, cached: int) -> None:
    """The second of two equal prompts finds all its full blocks, but always computes its last token."""
    prompt = prompt_ids(tokens, tokens)
    assert cached_tokens(engine.complete(prompt, max_tokens=1)) == 0
    assert cached_tokens(engine.complete(prompt, max_tokens=1)) == cached


def test_a_chat_finds_its_earlier_turns(engine: ServedEngine) -> None:
    """The next turn of a chat, its answer included, has most of its prompt in the cache."""
    first = [{"role": "user", "content": "Explain in some detail how rivers shape valleys over a very long time. " * 4}]
    answer = engine.ok("/v1/chat/completions", messages=first, max_tokens=60, ignore_eos=True)
    reply = answer["choices"][0]["message"]["content"]
    second = [*first, {"role": "assistant", "content": reply}, {"role": "user", "content": "And glaciers?"}]
    usage = engine.ok("/v1/chat/completions", messages=second, max_tokens=1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > answer["usage"]["prompt_tokens"]


def test_another_salt_shares_nothing(engine: ServedEngine) -> None:
    """`cache_salt` keeps one tenant's prefixes from another's."""
    prompt = prompt_ids(1, 100)
    for salt in ("tenant-a", "tenant-b"):
        assert cached_tokens(engine.complete(prompt, max_tokens=1, cache_salt=salt)) == 0
        assert cached_tokens(engine.complete(prompt, max_tokens=1, cache_salt=salt)) == 96


def test_events_tell_what_was_stored(engine: ServedEngine) -> None:
    """A prompt is announced, then its full blocks, chained, with just its tokens; a second time nothing new comes."""
    engine.view("events")
    prompt = prompt_ids(2, 100)
    body = {"model": "contract-model", "prompt": prompt, "max_tokens": 1}
    engine.post("/v1/completions", body, **{"x-request-id": "who-asked"})
    events = events_after(engine, wanted=1)
    names = [name for name, _ in events]
    assert names[0] == "PromptSeen"
    assert "who-asked" in events[0][1]["request_id"]
    assert events[0][1]["token_ids"] == prompt
    stored = [fields for name, fields in events if name == "BlockStored"]
    assert [token for fields in stored for token in fields["token_ids"]] == prompt[:96]
    assert stored[0]["parent_block_hash"] is None
    assert {fields["block_size"] for fields in stored} == {BLOCK}
    hashes = [name for fields in stored for name in fields["block_hashes"]]
    assert len(set(hashes)) == 3

    longer = prompt + prompt_ids(3, 60)
    engine.complete(longer, max_tokens=1)
    more = [fields for name, fields in events_after(engine, wanted=1) if name == "BlockStored"]
    new = [fields for fields in more if not set(fields["block_hashes"]) <= set(hashes)]
    assert [token for fields in new for token in fields["token_ids"]] == longer[96:160]
    assert new[0]["parent_block_hash"] == hashes[-1], "the chain goes on from the block before"


def test_events_tell_what_was_removed(engine: ServedEngine) -> None:
    """When other prompts push blocks out, their removal is told, and the engine indeed has them no more."""
    engine.view("events")
    prompt = prompt_ids(4, 200)
    engine.complete(prompt, max_tokens=1)
    stored = {
        name
        for kind, fields in events_after(engine, wanted=1)
        if kind == "BlockStored"
        for name in fields["block_hashes"]
    }
    assert len(stored) == 6
    for seed in range(5, 8):
        engine.complete(prompt_ids(seed, 640), max_tokens=1)
    removed = {
        name
        for kind, fields in events_after(engine, wanted=1, kind="BlockRemoved")
        if kind == "BlockRemoved"
        for name in fields["block_hashes"]
    }
    assert stored <= removed
    assert cached_tokens(engine.complete(prompt, max_tokens=1)) == 0


def test_known_blocks_are_just_what_the_cache_has(engine: ServedEngine) -> None:
    """Whoever keeps count of stored and removed blocks can tell `cached_tokens` of any prompt beforehand."""
    resident: dict[object, list[int]] = {}
    for round_ in range(10):
        prompt = prompt_ids(100 + round_ % 4, 300 + 32 * (round_ % 3))
        _take(resident, engine.view("events"))
        known = {tuple(tokens) for tokens in _prefixes(resident)}
        expected = 0
        while expected + BLOCK < len(prompt) and tuple(prompt[: expected + BLOCK]) in known:
            expected += BLOCK
        found = cached_tokens(engine.complete(prompt, max_tokens=1))
        if round_ >= 4:
            assert found == expected
        time.sleep(0.1)


_PARENT: dict[object, object] = {}


def _take(resident: dict[object, list[int]], events: list[tuple[str, dict[str, Any]]]) -> None:
    for kind, fields in events:
        if kind == "BlockStored":
            parent = fields["parent_block_hash"]
            for place, name in enumerate(fields["block_hashes"]):
                resident[name] = fields["token_ids"][place * BLOCK : (place + 1) * BLOCK]
                _PARENT[name] = parent
                parent = name
        elif kind == "BlockRemoved":
            for name in fields["block_hashes"]:
                resident.pop(name, None)


def _prefixes(resident: dict[object, list[int]]) -> list[list[int]]:
    found = []
    for name in resident:
        tokens: list[int] = []
        here: object = name
        while here in resident:
            tokens = resident[here] + tokens
            here = _PARENT[here]
        if here is None:
            found.append(tokens)
    return found
