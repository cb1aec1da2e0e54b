"""The affinity self-test: sends two equal prompts through the engine's own app and checks that the second was cached.

It also checks that the replica's residency says the same. Done at start, before any gateway knows the replica.
"""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Final

import httpx

from deployments.engines.interface import AsgiApp
from deployments.kv_residency.replica_residency import ReplicaResidency
from router.prefix_cache.residency import Mode
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.ranks import RANK_HEADER

PATH: Final = "/v1/completions"
PROBE_BLOCKS: Final = 3
"""Words in a probe, as a multiple of a KV block's tokens. A word is one or two tokens, with few exceptions, so a probe
is longer than two blocks."""
EVENTS_S: Final = 2.0
"""Longest wait for the KV events of the probes."""
TIMEOUT_S: Final = 120.0
"""Longest time for both probes: an engine may compile at its first request."""
_WORDS: Final = (
    "river mountain paper history music water light energy heat power function loop value error test result table",
    "column list tree graph path search sort merge split join read write open close begin large small quick slow",
)


@dataclass(frozen=True, slots=True)
class AffinityProof:
    """What the two probes showed.

    Attributes:
        caches: the engine found the second probe in its cache; None: unknown.
        is_exact: the replica's residency says so too, within one KV block.
        reason: what was found, for the log.
    """

    caches: bool | None
    is_exact: bool
    reason: str

    @property
    def mode(self) -> str:
        """How gateways learn what is cached: exact, observed, or none where the engine caches nothing."""
        if self.caches is False:
            return Mode.NONE
        return Mode.EXACT if self.is_exact else Mode.OBSERVED


class AffinitySelfTest:
    """Sends the probes and compares.

    Args:
        app: the engine's app, with `RequestBodies` around it if there is a residency.
        model: the model's name.
        hasher: the one the residency uses.
        residency: the residency to check; None: the replica has none.
        block_tokens: tokens per KV block.
        rank: the data-parallel rank to test; None: the engine has one.
    """

    def __init__(  # noqa: PLR0913 - what is tested, and how
        self,
        app: AsgiApp,
        model: str,
        hasher: ChunkHasher,
        residency: ReplicaResidency | None,
        *,
        block_tokens: int,
        rank: int | None = None,
    ) -> None:
        words = Random(0).choices(" ".join(_WORDS).split(), k=PROBE_BLOCKS * block_tokens)  # noqa: S311 - any words will do
        body = {"model": model, "prompt": " ".join(["self-test", *words]), "max_tokens": 1, "temperature": 0}
        self._body = json.dumps(body).encode()
        self._chain = hasher.of_body(PATH, self._body, model=model)
        self._headers = {"content-type": "application/json", "x-request-id": "self-test"}
        if rank is not None:
            self._headers[RANK_HEADER] = str(rank)
        self._residency = residency
        self._block_tokens = block_tokens
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def run(self) -> AffinityProof:
        """Send both probes and compare; raises nothing whatever the engine answers."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._compare()
        except TimeoutError:
            return AffinityProof(caches=None, is_exact=False, reason=f"the probes took more than {TIMEOUT_S:g} s")
        except (httpx.HTTPError, ValueError) as error:
            return AffinityProof(caches=None, is_exact=False, reason=f"the probes failed: {error}")

    async def _compare(self) -> AffinityProof:
        await self._cached_tokens()
        cached = await self._cached_tokens()
        if cached is None:
            reason = "answers lack `cached_tokens`; `enable_prompt_tokens_details` adds it"
            return AffinityProof(caches=None, is_exact=False, reason=reason)
        if not cached:
            return AffinityProof(caches=False, is_exact=False, reason="a prompt sent twice was not cached")
        if self._residency is None:
            reason = f"{cached} tokens cached; the engine sends no KV events"
            return AffinityProof(caches=True, is_exact=False, reason=reason)
        claimed = await self._claimed_tokens(self._residency, cached)
        is_exact = abs(claimed - cached) <= self._block_tokens
        return AffinityProof(caches=True, is_exact=is_exact, reason=f"{cached} tokens cached, {claimed} claimed")

    async def _claimed_tokens(self, residency: ReplicaResidency, cached: int) -> int:
        """Return the tokens that the residency says are cached, once that fits `cached` or after `EVENTS_S`."""
        changed = asyncio.Event()
        stop_listening = residency.listen(changed.set)
        try:
            async with asyncio.timeout(EVENTS_S):
                while abs((claimed := residency.resident_tokens(self._chain)) - cached) > self._block_tokens:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            claimed = residency.resident_tokens(self._chain)
        finally:
            stop_listening()
        return claimed

    async def _cached_tokens(self) -> int | None:
        request = httpx.Request("POST", f"http://replica{PATH}", content=self._body, headers=self._headers)
        response = await self._transport.handle_async_request(request)
        answer = await response.aread()
        if response.status_code != HTTPStatus.OK:
            raise ValueError(f"{response.status_code} {answer[:300].decode(errors='replace')}")
        details = json.loads(answer)["usage"].get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens")
        return cached if isinstance(cached, int) else None
