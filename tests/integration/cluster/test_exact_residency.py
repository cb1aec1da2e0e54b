"""Two gateways, two replicas that evict: each gateway knows what the caches hold, also what the other one caused."""

import json
import time
from collections.abc import Callable
from random import Random
from typing import Any

import httpx
import pytest

from router.dispatch.replica import Replica
from router.estimator.expectation import Usage
from router.estimator.model_estimator import ModelEstimator
from router.prompt.canonical import assistant_piece
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest
from tests.integration.cluster.running_application import RunningApplication, wait_for
from tests.mixed_chats import MixedChats

BLOCK_TOKENS = 32
KV_BLOCKS = 80
SETTLED_S = 0.12
"""Deltas are made at most 50 ms apart; the rest is for a machine that is busy."""
SIM = {"kv_blocks": KV_BLOCKS, "block_tokens": BLOCK_TOKENS, "prefill_tokens_per_s": 50_000, "inter_token_s": 0.001}
EXPLAIN = {"x-rackserve-explain": "1"}


class ObservingGateway:
    """What a gateway would believe that hears nothing from replicas: it infers from the requests it routed."""

    def __init__(self) -> None:
        self._hasher = ChunkHasher(1)
        self._estimator = ModelEstimator()
        self._replicas: dict[str, Replica] = {}

    def believed_tokens(self, body: bytes, replica_id: str, answer: dict[str, Any], now_s: float) -> float:
        """Return the tokens it believes to be cached; then the request goes to that replica, and is answered."""
        chain = self._hasher.of_body("/v1/chat/completions", body, model="m")
        usage, text = answer["usage"], answer["choices"][0]["message"]["content"]
        request = RoutingRequest("r", model="m", path="", stream=False, body=body, chain=chain, now_s=now_s)
        replica = self._replica(replica_id)
        request.match = self._estimator.match(chain)
        expectation = self._estimator.expect(request, replica)
        added = self._hasher.extension(chain, assistant_piece(text)) if text else None
        self._estimator.finished(expectation, Usage(usage["prompt_tokens"]), now_s, streamed=False, answer=added)
        self._estimator.tick(now_s)
        return float(usage["prompt_tokens"]) * expectation.matched_bytes / chain.size_bytes

    def _replica(self, replica_id: str) -> Replica:
        replica = self._replicas.get(replica_id)
        if replica is None:
            endpoint = Endpoint(replica_id, model="m", host="h", http_port=1, kv_tokens=KV_BLOCKS * BLOCK_TOKENS)
            replica = self._replicas[replica_id] = Replica(endpoint)
            self._estimator.join(replica)
        return replica


def blocks_off(tokens: float, answer: dict[str, Any]) -> int:
    """Return how many KV blocks a prediction is away from what the engine found in its cache."""
    cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return abs(round(tokens / BLOCK_TOKENS) - int(cached) // BLOCK_TOKENS)


@pytest.mark.parametrize("conversations", [18, pytest.param(62, marks=pytest.mark.long)])
def test_every_gateway_knows_what_the_caches_hold(
    run_application: Callable[..., RunningApplication], conversations: int
) -> None:
    """Of their requests, sent to the two gateways in turns, 98 in 100 are predicted to within a KV block."""
    model = {"name": "m", "replicas": 2, "policy": "expected_ttft", "sim": SIM}
    application = run_application(model, replicas=2, port=0)
    wait_for("both gateways", lambda: len(application.view().gateways) == 2)
    urls = [f"http://127.0.0.1:{gateway.port}" for gateway in application.view().gateways]
    admin_urls = [gateway.admin_url for gateway in application.view().gateways]
    wait_for("exact residency", lambda: all(knows_exactly(url, replicas=2) for url in admin_urls), timeout_s=10.0)
    observing = [ObservingGateway(), ObservingGateway()]
    chats = MixedChats(seed=11, chats=conversations, at_once=8)
    exact: list[int] = []
    in_proportion: list[int] = []
    observed: list[int] = []
    cached = prompt = 0
    with httpx.Client(timeout=30.0) as client:
        for number, body in enumerate(chats.bodies()):
            gateway = number % 2
            sent = json.dumps({"model": "m", "max_tokens": Random(number).randrange(8, 80), **body}).encode()
            response = client.post(f"{urls[gateway]}/v1/chat/completions", content=sent, headers=EXPLAIN)
            assert response.status_code == 200, response.text
            answer = response.json()
            chain = ChunkHasher(1).of_body("/v1/chat/completions", sent, model="m")
            share = int(response.headers["x-rackserve-matched-chars"]) / chain.size_bytes
            exact.append(blocks_off(float(response.headers["x-rackserve-matched-tokens"]), answer))
            in_proportion.append(blocks_off(share * answer["usage"]["prompt_tokens"], answer))
            replica_id = response.headers["x-rackserve-replica"]
            believed = observing[gateway].believed_tokens(sent, replica_id, answer, time.monotonic())
            observed.append(blocks_off(believed, answer))
            cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
            prompt += answer["usage"]["prompt_tokens"]
            chats.answered(answer["choices"][0]["message"]["content"] or "-")
            time.sleep(SETTLED_S)
    rights = [sum(off <= 1 for off in source) / len(source) for source in (exact, in_proportion, observed)]
    print(  # noqa: T201
        f"{len(exact)} requests, {prompt / 2 / KV_BLOCKS / BLOCK_TOKENS:.0f} times what a cache holds to each replica, "
        f"{cached / prompt:.0%} cached; predicted within a block: exact {rights[0]:.1%} (in proportion to characters "
        f"{rights[1]:.1%}), observed {rights[2]:.1%}; blocks off at worst: {max(exact)}, {max(in_proportion)}, "
        f"{max(observed)}"
    )
    assert len(exact) > 3 * conversations
    filled = conversations // 6
    assert prompt > 2 * filled * KV_BLOCKS * BLOCK_TOKENS, f"caches must have been filled {filled} times over"
    assert cached > 0.2 * prompt, "there must be something to know"
    assert rights[0] >= 0.98
    assert rights[2] <= rights[0] - 0.1


def knows_exactly(admin_url: str, replicas: int) -> bool:
    """Tell whether a gateway hears from this number of replicas what their caches hold."""
    told: int = httpx.get(f"{admin_url}/ready").json().get("affinity", {}).get("m", {}).get("exact", 0)
    return told == replicas
