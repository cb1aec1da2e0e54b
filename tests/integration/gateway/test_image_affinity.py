"""Prompts with images go where those images are cached."""

import json
from contextlib import AsyncExitStack

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from tests.engine_contract.pictures import chat_about, inline, png
from tests.integration.gateway.running_gateway import ask, request, running_gateway

IMAGE_TOKENS = 576
MODEL = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "sim": {"image_tokens": IMAGE_TOKENS, "prefill_tokens_per_s": 4000, "answer_tokens": 4, "inter_token_s": 0.001},
    }
)
SEEN = [inline(png((shade, 0, 0))) for shade in (10, 60, 110, 160, 210, 250)]


async def test_each_image_has_a_home() -> None:
    """Two real replicas: chats that differ in their image alone spread, and each comes back to where its image is."""
    async with AsyncExitStack() as stack:
        endpoints = []
        for name in ("r0", "r1"):
            replica = ReplicaServer(MODEL, engine_for(MODEL), replica_id=name, host="127.0.0.1", credential="secret")
            endpoints.append(await replica.start())
            stack.push_async_callback(replica.stop)
        gateway = await stack.enter_async_context(
            running_gateway([], models=[MODEL], credential="secret", endpoints=endpoints)
        )
        homes: list[set[str]] = [set() for _ in SEEN]
        for turn in range(3):
            for number, url in enumerate(SEEN):
                body = json.dumps({"model": "m", "messages": chat_about(url)}).encode()
                raw = request(body, headers=b"x-rackserve-explain: 1\r\n")
                status, headers, answer = await ask(gateway.port, raw)
                assert status == 200, answer
                usage = json.loads(answer)["usage"]
                assert usage["prompt_tokens"] >= IMAGE_TOKENS
                homes[number].add(headers["x-rackserve-replica"])
                if turn:
                    assert usage["prompt_tokens_details"]["cached_tokens"] >= IMAGE_TOKENS - 64
        assert [len(home) for home in homes] == [1] * len(SEEN)
        assert set.union(*homes) == {"r0", "r1"}
