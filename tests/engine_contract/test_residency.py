"""What a replica claims its cache to hold is what the engine finds there."""

import threading
import time
from random import Random
from typing import Any

import pytest

from tests.engine_contract.served_engine import ServedEngine
from tests.machine_speed import slowness
from tests.mixed_chats import MixedChats, text_of

BLOCK = 32
SETTLED_S = 0.15
"""An engine's events are there so long after its answer, on a machine that is busy too."""
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def cached_tokens(answer: dict[str, Any]) -> int:
    """Return how much of the prompt was found in the cache."""
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def settled_claims(engine: ServedEngine, path: str, body: dict[str, Any]) -> int:
    """Return the tokens claimed of a prompt, once the events of what went before are there."""
    time.sleep(SETTLED_S * slowness())
    return engine.claims(path, body)["tokens"]


def evict_everything(engine: ServedEngine) -> None:
    """Send prompts that take more room than there is."""
    rng = Random(time.monotonic_ns())
    for _ in range(3):
        engine.complete([rng.randrange(1000, 20_000) for _ in range(640)], max_tokens=1)


@pytest.fixture(params=["few", pytest.param("many", marks=pytest.mark.long)])
def chats(request: pytest.FixtureRequest, engine: ServedEngine) -> MixedChats:
    """Chats that need several times the engine's blocks; vLLM gets fewer and shorter ones, for it computes them."""
    is_sim, are_many = engine.model.engine == "sim", request.param == "many"
    if is_sim or are_many:
        return MixedChats(seed=5, chats=30 if is_sim and are_many else 12)
    return MixedChats(seed=5, chats=5, system_chars=500, message_chars=(20, 300))


def test_the_self_test_proves_it(engine: ServedEngine) -> None:
    """Two equal prompts show that the cache works and that the claims are right, in about the time that they take."""
    began_s = time.monotonic()
    proof = engine.view("self-test")
    assert (proof["caches"], proof["is_exact"]) == (True, True), proof
    assert time.monotonic() - began_s < 10 * slowness()


def test_claims_are_within_a_block_of_what_is_cached(engine: ServedEngine, chats: MixedChats) -> None:
    """Over chats of prose, code, JSON, Chinese and tools that evict one another, in 98 of 100 requests and more."""
    off: list[float] = []
    found = 0
    for body in chats.bodies():
        claimed = settled_claims(engine, CHAT, body)
        answer = engine.ok(CHAT, **body, max_tokens=24, ignore_eos=True)
        cached = cached_tokens(answer)
        off.append(abs(round(claimed / BLOCK) - cached // BLOCK))
        found += cached
        chats.answered(answer["choices"][0]["message"]["content"] or "-")
    wrong = sum(blocks > 1 for blocks in off)
    print(f"{len(off)} requests, {found} tokens cached, {wrong} off by more than a block, {max(off)} at worst")  # noqa: T201
    assert found > 2 * BLOCK * len(off)
    assert wrong <= max(1, 0.02 * len(off))


def test_evicted_prompts_are_claimed_no_more(engine: ServedEngine) -> None:
    """What was claimed goes with the blocks, told and untold; other prompts' claims are what came instead."""
    body = {"messages": [{"role": "user", "content": text_of("prose", 1500, Random(1))}]}
    engine.ok(CHAT, **body, max_tokens=1)
    time.sleep(SETTLED_S)
    before = engine.claims(CHAT, body)
    assert before["tokens"] > 200
    assert before["told_bytes"] > 1300
    evict_everything(engine)
    time.sleep(SETTLED_S)
    after = engine.claims(CHAT, body)
    assert (after["tokens"], after["told_bytes"]) == (0, 0)


def test_the_answer_is_claimed_too(engine: ServedEngine) -> None:
    """The next turn of a chat is claimed with the answer in it, before anyone has asked it."""
    messages = [{"role": "user", "content": "Tell me at length how rivers shape valleys, please. " * 6}]
    answer = engine.ok(CHAT, messages=messages, max_tokens=150, min_tokens=150)
    reply = answer["choices"][0]["message"]["content"]
    messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": "And how do glaciers?"}]
    claimed = settled_claims(engine, CHAT, {"messages": messages})
    assert claimed > answer["usage"]["prompt_tokens"] + 60
    cached = cached_tokens(engine.ok(CHAT, messages=messages, max_tokens=1))
    assert abs(claimed - cached) <= BLOCK


def test_prompts_at_once_with_one_beginning(engine: ServedEngine) -> None:
    """Copies of a block that prompts made side by side are one claim, which goes when the last copy goes."""
    system = {"role": "system", "content": text_of("prose", 1200, Random(3))}
    bodies = [
        {"messages": [system, {"role": "user", "content": text_of("prose", 200, Random(40 + number))}]}
        for number in range(4)
    ]
    threads = [threading.Thread(target=engine.ok, args=(CHAT,), kwargs={**body, "max_tokens": 2}) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for body in bodies:
        claimed = settled_claims(engine, CHAT, body)
        assert claimed > 200
        assert abs(claimed - cached_tokens(engine.ok(CHAT, **body, max_tokens=1))) <= BLOCK
    evict_everything(engine)
    assert [settled_claims(engine, CHAT, body) for body in bodies] == [0] * 4


@pytest.mark.parametrize("salt", ["", "tenant-a"])
def test_salts_keep_claims_apart(engine: ServedEngine, salt: str) -> None:
    """A prompt is claimed for the salt that it was sent with, and for no other."""
    content = f"salted {salt}: " + text_of("prose", 900, Random(8))
    body = {"messages": [{"role": "user", "content": content}]} | ({"cache_salt": salt} if salt else {})
    engine.ok(CHAT, **body, max_tokens=1)
    assert settled_claims(engine, CHAT, body) > 100
    assert settled_claims(engine, CHAT, body | {"cache_salt": "tenant-b"}) == 0


@pytest.mark.parametrize("kind", ["text", "ids", "texts"])
def test_completions_are_claimed_too(engine: ServedEngine, kind: str) -> None:
    """Prompts of text and of token ids; of several prompts in one request the first counts."""
    rng = Random(f"completions {kind}")
    text = text_of("prose", 1500, rng)
    prompts = {"text": text, "ids": [rng.randrange(1000, 20_000) for _ in range(300)], "texts": [text, "another"]}
    body = {"prompt": prompts[kind]}
    engine.ok(COMPLETIONS, **body, max_tokens=1)
    claimed = settled_claims(engine, COMPLETIONS, body)
    assert claimed > 200
    if kind != "texts":
        assert abs(claimed - cached_tokens(engine.complete(prompts[kind], max_tokens=1))) <= BLOCK


def test_clients_cannot_spoil_claims(engine: ServedEngine) -> None:
    """A request may have vLLM repeat events for blocks that are there (`kv_cache_report_mode`): none counts twice."""
    evict_everything(engine)  # the cache is full: were blocks counted twice, there would be more than there is room
    other, body = (
        {"messages": [{"role": "user", "content": text_of("prose", 1200, Random(seed))}]} for seed in (11, 12)
    )
    engine.ok(CHAT, **other, max_tokens=1)
    for _ in range(4):
        engine.ok(CHAT, **body, max_tokens=1, vllm_xargs={"kv_cache_report_mode": "full"})
    assert settled_claims(engine, CHAT, other) > 200
    assert settled_claims(engine, CHAT, body) > 200
    evict_everything(engine)
    assert settled_claims(engine, CHAT, body) == 0


def test_what_is_no_prompt_claims_nothing(engine: ServedEngine) -> None:
    """Requests that the engine refuses leave no claims, and no trace that later ones could stumble over."""
    text = text_of("prose", 900, Random(13))
    refused = {"messages": [{"role": "user", "content": text}], "max_tokens": -3}
    assert engine.post(CHAT, {"model": engine.model.name, **refused}).status_code == 400
    assert settled_claims(engine, CHAT, refused) == 0
    body = {"messages": [{"role": "user", "content": text}]}
    engine.ok(CHAT, **body, max_tokens=1)
    assert settled_claims(engine, CHAT, body) > 100
