"""Models that generate and models that embed, classify or score: each is asked for what it is served for."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint, Signal
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

MODELS = [
    ModelSpec.model_validate({"name": "chat", "engine": "sim", "task": "generate"}),
    ModelSpec.model_validate({"name": "vectors", "engine": "sim", "task": "embed"}),
    ModelSpec.model_validate({"name": "classes", "engine": "sim", "task": "classify"}),
    ModelSpec.model_validate({"name": "ranks", "engine": "sim", "task": "score"}),
    ModelSpec.model_validate({"name": "runner", "engine": "sim", "engine_args": {"runner": "pooling"}}),
    ModelSpec.model_validate({"name": "either", "engine": "sim"}),
]
GENERATES = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
SCORES = ["/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"]
ANSWERED = {
    "chat": GENERATES,
    "vectors": ["/v1/embeddings", "/v2/embed", "/pooling", *SCORES],
    "classes": ["/classify", "/pooling", *SCORES],
    "ranks": ["/classify", "/pooling", *SCORES],
    "runner": ["/v1/embeddings", "/v2/embed", "/pooling", *SCORES],
}
PATHS = [*GENERATES, "/v1/embeddings", "/v2/embed", "/pooling", "/classify", *SCORES]


def _gateway(port: int) -> AbstractAsyncContextManager[Gateway]:
    endpoints = [Endpoint(f"r-{model.name}", model.name, "127.0.0.1", port) for model in MODELS]
    return running_gateway([], models=MODELS, endpoints=endpoints)


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"id":"c1"}'))


@pytest.mark.parametrize("model", ANSWERED)
async def test_a_model_is_asked_for_what_it_does(model: str) -> None:
    """Its own paths reach its replica; the others are refused with 400, which says what it does."""
    async with ScriptedReplica(_ok) as replica, _gateway(replica.port) as gw:
        for path in PATHS:
            asked = len(replica.received)
            status, _, body = await ask(gw.port, request(json.dumps({"model": model}).encode(), path=path))
            is_answered = path in ANSWERED[model]
            assert (status, len(replica.received) - asked) == ((200, 1) if is_answered else (400, 0)), path
            if not is_answered:
                said = json.loads(body)["error"]
                assert f"the model {model!r}" in said["message"]
                assert f"does not answer {path}" in said["message"]


async def test_of_a_model_that_the_file_says_nothing_of_the_engine_decides() -> None:
    """All paths reach its replica, and `/tokenize` that of every model."""
    async with ScriptedReplica(_ok) as replica, _gateway(replica.port) as gw:
        for path in PATHS:
            assert (await ask(gw.port, request(b'{"model":"either"}', path=path)))[0] == 200
        for model in ANSWERED:
            body = json.dumps({"model": model}).encode()
            assert (await ask(gw.port, request(body, path="/tokenize")))[0] == 200


async def test_embedding_replicas_share_the_load() -> None:
    """Whole: real replicas of a model that embeds say that nothing stays cached, and equal texts go to either."""
    model = ModelSpec.model_validate({"name": "vectors", "engine": "sim", "task": "embed"})
    async with AsyncExitStack() as stack:
        endpoints = []
        for name in ("r0", "r1"):
            replica = ReplicaServer(model, engine_for(model), replica_id=name, host="127.0.0.1", credential="secret")
            endpoints.append(await replica.start())
            stack.push_async_callback(replica.stop)
        assert [endpoint.caches_prefixes for endpoint in endpoints] == [False, False]
        assert all(Signal.RESIDENCY not in endpoint.signals for endpoint in endpoints)
        assert "routed by load" in endpoints[0].affinity_proof
        gw = await stack.enter_async_context(
            running_gateway([], models=[model], credential="secret", endpoints=endpoints)
        )
        body = json.dumps({"model": "vectors", "input": "The same text. " * 200}).encode()
        raw = request(body, path="/v1/embeddings", headers=b"x-rackserve-explain: 1\r\n")
        answers = await asyncio.gather(*(ask(gw.port, raw) for _ in range(8)))
        assert {status for status, _, _ in answers} == {200}
        assert {headers["x-rackserve-replica"] for _, headers, _ in answers} == {"r0", "r1"}
        pairs = json.dumps({"model": "vectors", "query": "sea", "documents": ["the sea", "a dog"]}).encode()
        status, _, ranked = await ask(gw.port, request(pairs, path="/rerank"))
        assert (status, [row["index"] for row in json.loads(ranked)["results"]]) == (200, [0, 1])
        status, _, refused = await ask(gw.port, request(b'{"model":"vectors","messages":[]}'))
        assert (status, json.loads(refused)["error"]["code"]) == (400, "bad_request")
