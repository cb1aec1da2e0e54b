"""The gateway learns from what it sends and what it hears, and routes by it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from router.http.gateway import Gateway
from router.prefix_cache.exact import ResidencyDelta
from router.replicas.endpoint import Endpoint
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

MODELS = [ModelSpec(name="m", engine="sim", policy="expected_ttft")]
EXPLAIN = b"x-rackserve-explain: 1\r\n"


async def _chat(received: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.01)
    prompt_tokens = len(received.body) // 4
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}}
    answer = {"choices": [{"message": {"role": "assistant", "content": "fine"}}], "usage": usage}
    writer.write(plain(json.dumps(answer).encode()))


def _body(*contents: str) -> bytes:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    return json.dumps({"model": "m", "messages": messages}).encode()


async def test_a_conversation_stays_where_its_prefix_is() -> None:
    """Each of eight chats keeps its replica over its turns, and the chats are spread."""
    async with (
        ScriptedReplica(_chat) as one,
        ScriptedReplica(_chat) as two,
        running_gateway([one.port, two.port], models=MODELS) as gateway,
    ):
        homes: list[set[str]] = []
        for chat in range(8):
            system = f"You are assistant number {chat}. " * 40
            turns = [system, "first question", "fine", "second question", "fine", "third question"]
            answers = [await ask(gateway.port, request(_body(*turns[:count]), headers=EXPLAIN)) for count in (2, 4, 6)]
            homes.append({headers["x-rackserve-replica"] for _, headers, _ in answers})
            matched = [int(headers["x-rackserve-matched-chars"]) for _, headers, _ in answers]
            assert matched[0] == 0
            assert matched[1] >= len(system)
            assert matched[2] > matched[1]
        assert all(len(home) == 1 for home in homes)
        assert len(set.union(*homes)) == 2


async def test_a_hot_prefix_spreads() -> None:
    """Many requests at once with one prefix do not all queue on the replica that holds it."""
    async with (
        ScriptedReplica(_chat) as one,
        ScriptedReplica(_chat) as two,
        running_gateway([one.port, two.port], models=MODELS) as gateway,
    ):
        system = "The same long system prompt. " * 100
        bodies = [_body(system, f"question {number} " * 200) for number in range(24)]
        await asyncio.gather(*(ask(gateway.port, request(body)) for body in bodies))
        assert min(len(one.received), len(two.received)) >= 4


@asynccontextmanager
async def _sim_replicas(*specs: Mapping[str, object]) -> AsyncIterator[list[Endpoint]]:
    """Run a real replica of a sim engine for each spec."""
    servers: list[ReplicaServer] = []
    try:
        endpoints = []
        for number, sim in enumerate(specs):
            model = ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": {"inter_token_s": 0.001, **sim}})
            engine = engine_for(model)
            servers.append(ReplicaServer(model, engine, replica_id=f"sim-{number}", host="127.0.0.1", credential="c"))
            endpoints.append(await servers[-1].start())
        yield endpoints
    finally:
        for server in servers:
            await server.stop()


async def _ready(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    status, _, body = await ask(gateway.admin_port, b"GET /ready HTTP/1.1\r\nhost: t\r\n\r\n")
    return status, json.loads(body)


async def test_ready_tells_that_an_engine_caches_nothing() -> None:
    """What the self-test of an engine without a prefix cache found is at /ready, and no hit is expected there."""
    off = {"prefix_caching": False}
    async with _sim_replicas(off, off) as endpoints, running_gateway([], models=MODELS, credential="c") as gateway:
        gateway.apply_view(endpoints)
        status, ready = await _ready(gateway)
        why = {"none": "sim-0: a prompt sent twice was not cached"}
        assert (status, ready["unmet"]) == (200, [])
        assert ready["affinity"] == {"m": {"mode": "none", "exact": 0, "observed": 0, "none": 2, "why": why}}
        body = _body("a system prompt that comes back " * 30, "hi")
        for _ in range(3):
            status, headers, answer = await ask(gateway.port, request(body, headers=EXPLAIN))
            assert (status, headers["x-rackserve-matched-chars"]) == (200, "0")
            assert json.loads(answer)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_ready_tells_of_replicas_that_differ() -> None:
    """One that told what it caches, one that caches nothing: both are counted, and each has its reason."""
    async with (
        _sim_replicas({}, {"prefix_caching": False}) as endpoints,
        running_gateway([], models=MODELS, credential="c") as gateway,
    ):
        gateway.apply_view(endpoints)
        affinity = (await _ready(gateway))[1]["affinity"]["m"]
        assert (affinity["mode"], affinity["observed"], affinity["none"]) == ("mixed", 1, 1)
        assert affinity["why"]["observed"] == "sim-0: its snapshot has not come yet"
        empty = np.empty(0, np.uint64)
        gateway.apply_residency("sim-0", ResidencyDelta(1, empty, empty, snapshot=True))
        affinity = (await _ready(gateway))[1]["affinity"]["m"]
        assert (affinity["mode"], affinity["exact"], affinity["none"]) == ("mixed", 1, 1)
        assert "tokens cached" in affinity["why"]["exact"]
        gateway.set_models([ModelSpec(name="m", engine="sim", policy="round_robin")])
        affinity = (await _ready(gateway))[1]["affinity"]["m"]
        assert (affinity["mode"], affinity["why"]) == ("none", {"none": "the policy round_robin reads no prompts"})


async def test_a_policy_whose_telemetry_is_missing_is_never_ready() -> None:
    """503 with which policy, signal and replica, and what to choose; one replica that provides it is enough."""
    insisting = [ModelSpec(name="m", engine="sim", policy="expected_ttft:exact")]
    async with (
        _sim_replicas({"prefix_caching": False}, {}) as [uncached, exact],
        running_gateway([], models=insisting, credential="c") as gateway,
    ):
        gateway.apply_view([])
        assert (await _ready(gateway))[1]["unmet"] == []
        gateway.apply_view([uncached])
        status, ready = await _ready(gateway)
        assert status == 503
        [why] = ready["unmet"]
        assert why == ready["reason"]
        for words in (
            "model m: the policy 'expected_ttft:exact' needs residency",
            "sim-0",
            "sent twice was not cached",
        ):
            assert words in why
        assert "does without: expected_ttft, " in why
        gateway.apply_view([uncached, exact])
        assert (await _ready(gateway))[0] == 200
        for _ in range(3):
            _, headers, _ = await ask(gateway.port, request(_body("hello", "you"), headers=EXPLAIN))
            assert headers["x-rackserve-replica"] == "sim-1"
        gateway.apply_view([uncached])
        status, ready = await _ready(gateway)
        assert (status, ready["unmet"]) == (200, [why]), "what serves goes on serving"


async def test_a_body_that_is_no_prompt_is_routed_all_the_same() -> None:
    """Without a prompt that is understood there is no affinity, but an answer."""
    async with ScriptedReplica(_chat) as one, running_gateway([one.port], models=MODELS) as gateway:
        for body in (b'{"model":"m","messages":7}', b'{"model":"m"}', b'{"model":"m","messages":[{"content":{}}]}'):
            assert (await ask(gateway.port, request(body)))[0] == 200


async def test_the_journal_says_why() -> None:
    """Operators see every candidate with the terms of its cost, the pick, and what came of it; apps do not."""
    async with (
        ScriptedReplica(_chat) as one,
        ScriptedReplica(_chat) as two,
        running_gateway([one.port, two.port], models=MODELS) as gateway,
    ):
        raw = request(_body("system prompt " * 50, "hi"), headers=EXPLAIN + b"x-request-id: ask-1\r\n")
        _, headers, _ = await ask(gateway.port, raw)
        get = b"GET /why/%s HTTP/1.1\r\nhost: t\r\n\r\n"
        why = json.loads((await ask(gateway.admin_port, get % b"ask-1"))[2])
        [attempt] = why["attempts"]
        assert (why["outcome"], attempt["policy"], attempt["unit"]) == ("ok", "expected_ttft", "seconds")
        assert attempt["picked"] == headers["x-rackserve-replica"]
        assert {row["replica_id"] for row in attempt["candidates"]} == {"r0", "r1"}
        for row in attempt["candidates"]:
            assert row["terms"]["prefill_s"] > 0
            assert abs(sum(row["terms"].values()) - row["cost"]) < 1e-3
        assert why["cached_tokens"] == 0
        assert why["total_s"] >= attempt["ttft_s"] > 0.005
        assert attempt["after_s"] == 0.0
        assert (await ask(gateway.admin_port, get % b"nobody"))[0] == 404
        assert (await ask(gateway.port, get % b"ask-1"))[0] == 404


async def test_metrics_show_the_routing_efficiency() -> None:
    """Hits, what an infinite cache would have hit, and the balance are there for each model; /ready tells the mode."""
    async with ScriptedReplica(_chat) as one, running_gateway([one.port], models=MODELS) as gateway:
        body = request(_body("a system prompt that comes back " * 30, "hi"))
        for _ in range(4):
            await ask(gateway.port, body)
        page = b"GET %s HTTP/1.1\r\nhost: t\r\n\r\n"
        text = (await ask(gateway.admin_port, page % b"/metrics"))[2].decode()
        samples = {
            sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples
        }
        assert samples["rackserve_prefix_hit_ratio"] == 0.0  # this replica says it caches nothing
        assert 0.7 < samples["rackserve_prefix_hit_ratio_ideal"] < 0.8
        assert samples["rackserve_prefix_hits_achieved"] == 0.0
        assert samples["rackserve_prefill_imbalance"] == 1.0
        assert samples["rackserve_prompt_tokens_total"] > 900
        ready = json.loads((await ask(gateway.admin_port, page % b"/ready"))[2])
        why = {"observed": "r0: no self-test; inferred from what is sent there"}
        assert ready["affinity"] == {"m": {"mode": "observed", "exact": 0, "observed": 1, "none": 0, "why": why}}
