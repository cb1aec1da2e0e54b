"""No tenant can tell from an answer's time or usage what another one has asked: their cached prompts are apart."""

import asyncio
import time
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.gateway.running_gateway import running_gateway

TENANTS = [
    {"name": name, "key_sha256": sha256(name.encode()).hexdigest(), "cache_salt": f"salt-of-{name}"}
    for name in ("ann", "bob")
]
ROUNDS = 3


def _secret(number: int) -> str:
    """Return a text of some six hundred tokens that nobody else asks for."""
    return " ".join(f"Clause {number}-{line}: the buyer pays {number * 37 + line} crowns." for line in range(40))


async def _ask(gateway: Gateway, tenant: str, text: str, **more: object) -> tuple[float, int]:
    """Ask for one token; return the seconds that the answer takes, and the cached tokens that it tells."""
    body: dict[str, Any] = {"model": "contract-model", "prompt": text, "max_tokens": 1, "temperature": 0, **more}
    async with httpx.AsyncClient(timeout=120) as client:
        began_s = time.monotonic()
        answer = await client.post(
            f"http://127.0.0.1:{gateway.port}/v1/completions",
            json=body,
            headers={"authorization": f"Bearer {tenant}"},
        )
        took_s = time.monotonic() - began_s
    assert answer.status_code == 200, answer.text
    return took_s, int((answer.json()["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0)


async def _hits(engine: ServedEngine) -> float:
    """Return the prompt tokens that the engine has found in its cache since it started."""
    await asyncio.sleep(0.2)  # it counts a step after its answer has gone
    return engine.metric("vllm:prefix_cache_hits_total")


def _row(engine: ServedEngine) -> Endpoint:
    return Endpoint("r0", "contract-model", "127.0.0.1", urlsplit(engine.url).port or 0, continues_messages=True)


MODEL = ModelSpec(name="contract-model", engine="sim", policy="round_robin")


async def test_a_guessed_prompt_takes_as_long_as_any_other(engine: ServedEngine) -> None:
    """Bob asks what Ann has just asked: nothing of it is cached for him, and it takes as long as a new prompt.

    So says his answer's usage, and so does the engine's own counter of cache hits. Ann's own second time is quick and
    counts as hits, so the test would see it. The least of some rounds counts: the machine is shared.
    """
    guessed_s, fresh_s, own_s = [], [], []
    async with running_gateway([], models=[MODEL], endpoints=[_row(engine)], tenants=TENANTS) as gateway:
        for number in range(ROUNDS):
            fresh_s.append((await _ask(gateway, "ann", _secret(number)))[0])
            before = await _hits(engine)
            took_s, cached = await _ask(gateway, "ann", _secret(number))
            own_s.append(took_s)
            assert cached > 0
            after = await _hits(engine)
            assert after == before + cached
            took_s, cached = await _ask(gateway, "bob", _secret(number))
            guessed_s.append(took_s)
            assert cached == 0
            assert await _hits(engine) == after
    assert min(own_s) < 0.5 * min(fresh_s), "the cache makes no difference, so nothing is shown"
    assert min(guessed_s) > 0.6 * min(fresh_s)
    assert min(guessed_s) > 1.5 * min(own_s)


@pytest.mark.parametrize("asked", ["salt-of-ann", ""])
async def test_the_salt_is_not_the_clients_to_choose(engine: ServedEngine, asked: str) -> None:
    """Bob knows Ann's salt, or asks for none, and gets his own all the same."""
    text = _secret(100 + len(asked))
    async with running_gateway([], models=[MODEL], endpoints=[_row(engine)], tenants=TENANTS) as gateway:
        await _ask(gateway, "ann", text)
        assert (await _ask(gateway, "ann", text))[1] > 0
        more = {"cache_salt": asked} if asked else {}
        assert (await _ask(gateway, "bob", text, **more))[1] == 0
