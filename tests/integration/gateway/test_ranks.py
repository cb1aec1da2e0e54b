"""A gateway in front of two real replicas of simulated engines with two data-parallel ranks each."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cluster.spec.model_spec import ModelSpec
from deployments.commands.target.replica_rows import replica_rows
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from deployments.telemetry.client import TelemetryClient
from router.http.gateway import Gateway
from router.prefix_cache.exact import ResidencyDelta
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.ranks import divided
from tests.integration.gateway.running_gateway import ask, request, running_gateway, until

EXPLAIN = b"x-rackserve-explain: 1\r\n"
SIM = {"inter_token_s": 0.001, "prefill_tokens_per_s": 4000, "answer_tokens": 4, "block_tokens": 32, "kv_blocks": 400}
CHATS, TURNS = 12, 4


def _model(ranks: int) -> ModelSpec:
    return ModelSpec.model_validate(
        {"name": "m", "engine": "sim", "parallel": {"data": ranks}, "gpus_per_replica": 0, "sim": SIM}
    )


@dataclass
class Cluster:
    """A gateway, its replicas, and the rows that they announce."""

    gateway: Gateway
    replicas: Sequence[ReplicaServer]
    rows: Sequence[Endpoint]
    telemetry: TelemetryClient

    def list_only(self, rows: Sequence[Endpoint]) -> None:
        """Let the directory list these replicas alone."""
        self.gateway.apply_view(divided(rows))
        self.telemetry.follow(divided(rows))

    async def chat(self, messages: list[dict[str, str]]) -> tuple[str, int, int, str]:
        """Ask; return who answered, the prompt's tokens, how many of them were cached, and the answer."""
        body = json.dumps({"model": "m", "messages": messages}).encode()
        status, headers, answer = await ask(self.gateway.port, request(body, headers=EXPLAIN))
        assert status == 200, answer
        told = json.loads(answer)
        usage = told["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        said = told["choices"][0]["message"]["content"]
        return headers["x-rackserve-replica"], usage["prompt_tokens"], cached, said


@asynccontextmanager
async def _cluster(replicas: int, ranks: int) -> AsyncIterator[Cluster]:
    model, servers = _model(ranks), list[ReplicaServer]()
    snapshots: set[str] = set()
    async with running_gateway([], models=[model], credential="c") as gateway:

        def on_residency(replica_id: str, delta: ResidencyDelta) -> bool:
            snapshots.add(replica_id)
            return gateway.apply_residency(replica_id, delta)

        telemetry = TelemetryClient("gateway-under-test", "c", gateway.apply_report, on_residency)
        try:
            for number in range(replicas):
                engine = engine_for(model)
                servers.append(ReplicaServer(model, engine, replica_id=f"r{number}", host="127.0.0.1", credential="c"))
            rows = [await server.start() for server in servers]
            cluster = Cluster(gateway, servers, rows, telemetry)
            cluster.list_only(rows)
            await until(lambda: len(snapshots) == replicas * ranks)
            yield cluster
        finally:
            await telemetry.stop()
            for server in servers:
                await server.stop()


async def _conversations(cluster: Cluster) -> tuple[list[set[str]], float]:
    """Hold chats of several turns; return where each one's turns were answered, and the share of tokens cached."""
    homes: list[set[str]] = [set() for _ in range(CHATS)]
    prompts = cached = 0

    async def one(number: int) -> None:
        nonlocal prompts, cached
        messages = [{"role": "system", "content": f"Chat {number}. " + f"Rule {number} holds for all of them. " * 60}]
        for turn in range(TURNS):
            messages.append({"role": "user", "content": f"question {turn} of chat {number} " * 8})
            home, prompt_tokens, cached_tokens, said = await cluster.chat(messages)
            messages.append({"role": "assistant", "content": said})
            homes[number].add(home)
            prompts += prompt_tokens
            cached += cached_tokens
            await asyncio.sleep(0.2)  # a user reads; what is cached is told meanwhile

    await asyncio.gather(*(one(number) for number in range(CHATS)))
    return homes, cached / prompts


async def test_chats_come_back_to_the_rank_that_has_their_prefix() -> None:
    """As with four replicas of one rank each: chats spread over all four caches, stay, and as much is found there."""
    async with _cluster(2, 2) as cluster:
        assert all(Signal.RESIDENCY in row.signals and row.ranks == 2 for row in cluster.rows)
        homes, share = await _conversations(cluster)
        state = cluster.gateway.state()["models"]["m"]["replicas"]
        assert {row["replica_id"]: row["report"]["accepted"] for row in state} == {
            row["replica_id"]: row["sent"] for row in state
        }
        (first, second) = replica_rows(state)
        assert [first["replica_id"], second["replica_id"]] == ["r0", "r1"]
        assert first["report"]["accepted"] + second["report"]["accepted"] == CHATS * TURNS
    assert set.union(*homes) == {"r0.0", "r0.1", "r1.0", "r1.1"}
    assert [len(home) for home in homes] == [1] * CHATS
    async with _cluster(4, 1) as cluster:
        apart, share_apart = await _conversations(cluster)
    assert [len(home) for home in apart] == [1] * CHATS
    assert abs(share - share_apart) < 0.02


async def test_a_replica_that_ends_takes_both_ranks() -> None:
    """It answers 503 to a request on one rank: that one goes to the other replica, and nothing to the other rank."""
    async with _cluster(2, 2) as cluster:
        guard = cluster.replicas[0]._guard
        assert guard is not None
        guard.closed = True
        said = [{"role": "user", "content": "hello"}]
        homes = [(await cluster.chat([*said, {"role": "user", "content": f"{n}"}]))[0] for n in range(12)]
        assert {home[:2] for home in homes} == {"r1"}
        rows = cluster.gateway.state()["models"]["m"]["replicas"]
        assert sum(row["sent"] for row in rows if row["replica"] == "r0") == 1, "one learned it for both"


async def test_a_dead_replica_takes_both_ranks() -> None:
    """Its port is closed: the request that notices goes elsewhere, and the other rank is not tried."""
    async with _cluster(2, 2) as cluster:
        await cluster.replicas[0].stop()
        said = [{"role": "user", "content": "hello"}]
        homes = [(await cluster.chat([*said, {"role": "user", "content": f"{n}"}]))[0] for n in range(12)]
        assert {home[:2] for home in homes} == {"r1"}
        rows = cluster.gateway.state()["models"]["m"]["replicas"]
        assert sum(row["sent"] for row in rows if row["replica"] == "r0") <= 1
        assert not any(row["accepting"] and row["report"] for row in rows if row["replica"] == "r0")
        cluster.list_only(cluster.rows[1:])
        assert {row["replica"] for row in cluster.gateway.state()["models"]["m"]["replicas"]} == {"r1"}
