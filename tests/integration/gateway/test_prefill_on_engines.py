"""Divided requests over two simulated engines: one computes the prompts, the other fetches them and answers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from cluster.spec.kv_duties import KvDuties
from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.machine_speed import slowness

CREDENTIAL = "secret"
APIS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "How rivers shape valleys. " * 1_000}]},
    "/v1/completions": {"prompt": "How rivers shape valleys. " * 1_000},
    "/v1/responses": {"input": "How rivers shape valleys. " * 1_000, "store": False},
    "/v1/messages": {"messages": [{"role": "user", "content": "How rivers shape valleys. " * 1_000}], "max_tokens": 9},
}


@dataclass
class Pools:
    """A gateway before one replica that computes prompts and one that answers.

    Attributes:
        gateway: the gateway.
        servers: the two replicas, by name.
        rows: their rows.
    """

    gateway: Gateway
    servers: dict[str, ReplicaServer]
    rows: dict[str, Endpoint]

    async def metric(self, replica: str, name: str) -> float:
        """Return the sum of a metric's samples in an engine's own `/metrics`."""
        row = self.rows[replica]
        headers = {"authorization": f"Bearer {CREDENTIAL}"}
        async with httpx.AsyncClient(headers=headers) as client:
            text = (await client.get(f"http://{row.host}:{row.http_port}/metrics")).text
        return sum(map(float, re.findall(rf"^{re.escape(name)}[{{ ].* (\S+)$", text, re.MULTILINE)))

    async def reaches(self, replica: str, name: str, *, zero: bool) -> None:
        """Return once a metric is 0, or once it is more; fail after a while."""
        async with asyncio.timeout(10 * slowness()):
            while (await self.metric(replica, name) == 0) is not zero:  # noqa: ASYNC110 - the engine has no event
                await asyncio.sleep(0.01)

    async def asked_directly(self, path: str, body: dict[str, object]) -> bytes:
        """Return what the replica that answers says by itself."""
        row = self.rows["d"]
        headers = {"authorization": f"Bearer {CREDENTIAL}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            return (await client.post(f"http://{row.host}:{row.http_port}{path}", json=body)).content


@asynccontextmanager
async def pools(**sim: object) -> AsyncIterator[Pools]:
    """Run them; 40 streams seem to run on the second, which a prompt computed there would stop."""
    settings = {"kv_blocks": 2_000, "prefill_tokens_per_s": 8_000, "transfer_lease_s": 600, **sim}
    model = ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": settings})
    async with AsyncExitStack() as stack:
        rows: dict[str, Endpoint] = {}
        servers: dict[str, ReplicaServer] = {}
        for name, role in (("p", Role.PREFILL), ("d", Role.DECODE)):
            engine = engine_for(model, duties=KvDuties.of(role))
            server = servers[name] = ReplicaServer(
                model, engine, replica_id=name, host="127.0.0.1", credential=CREDENTIAL
            )
            stack.push_async_callback(server.stop)
            rows[name] = replace(await server.start(), role=role)
        gateway = await stack.enter_async_context(
            running_gateway([], models=[model], endpoints=list(rows.values()), credential=CREDENTIAL)
        )
        gateway.apply_report("d", LoadReport(1, 40, 0, 0, 0.1, 64_000, 8_000.0, 1_000.0))
        yield Pools(gateway, servers, rows)


def told(answer: bytes) -> str:
    """Return the text in a response of any API."""
    return " ".join(re.findall(r'"(?:text|content)":"([^"]*)"', answer.decode()))


@pytest.mark.parametrize("path", APIS)
async def test_the_answer_is_that_of_one_engine(path: str) -> None:
    """By each API: the text of an engine asked alone, on a prompt that came from the other, with nothing kept after."""
    async with pools() as found:
        body = {"model": "m", "temperature": 0, **APIS[path]}
        status, _, answer = await ask(found.gateway.port, request(json.dumps(body).encode(), path=path))
        assert status == 200
        assert await found.metric("d", "vllm:nixl_bytes_transferred_count") == 1
        assert await found.metric("p", "sim:kept_blocks") == 0
        alone = await found.asked_directly(path, {**body, "cache_salt": "alone"})
        assert told(answer) == told(alone) != ""


async def test_a_client_that_leaves_during_the_transfer_frees_both_engines() -> None:
    """The gateway closes the second leg, and the second engine tells the first that its blocks are not wanted."""
    async with pools(transfer_bytes_per_s=1e6) as found:  # the prompt's bytes take minutes
        body = json.dumps({"model": "m", **APIS["/v1/completions"], "stream": True}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", found.gateway.port)
        writer.write(request(body, path="/v1/completions"))
        await found.reaches("d", "vllm:num_requests_kv_fetch_by_stage", zero=False)
        assert await found.metric("p", "sim:kept_blocks") > 0
        writer.close()
        await found.reaches("p", "sim:kept_blocks", zero=True)
        await found.reaches("d", "vllm:kv_cache_usage_perc", zero=True)
        (state,) = found.gateway.state()["models"].values()
        assert all(row["in_flight"] == 0 for row in state["replicas"])


async def test_a_client_that_leaves_while_its_prompt_is_computed_frees_the_first_engine() -> None:
    """The gateway closes the first leg, and nothing is kept."""
    async with pools(prefill_tokens_per_s=100) as found:
        before = await found.metric("d", "vllm:prompt_tokens_total")
        body = json.dumps({"model": "m", **APIS["/v1/completions"]}).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", found.gateway.port)
        writer.write(request(body, path="/v1/completions"))
        await found.reaches("p", "vllm:num_requests_running", zero=False)
        writer.close()
        await found.reaches("p", "vllm:kv_cache_usage_perc", zero=True)
        assert await found.metric("p", "sim:kept_requests") == 0
        assert await found.metric("d", "vllm:prompt_tokens_total") == before


async def test_an_engine_that_ends_with_the_prompt_fails_no_request() -> None:
    """The first engine is gone before the second has its blocks: the second computes the prompt, with the same text."""
    async with pools(transfer_bytes_per_s=2e8, kv_bytes_per_token=32_000) as found:  # the prompt takes a second
        body = {"model": "m", **APIS["/v1/completions"]}
        asking = asyncio.create_task(
            ask(found.gateway.port, request(json.dumps(body).encode(), path="/v1/completions"))
        )
        await found.reaches("d", "vllm:num_requests_kv_fetch_by_stage", zero=False)
        await found.servers["p"].stop()
        status, _, answer = await asking
        assert status == 200
        assert await found.metric("d", "vllm:nixl_num_failed_transfers_total") == 1
        alone = await found.asked_directly("/v1/completions", {**body, "cache_salt": "alone"})
        assert told(answer) == told(alone) != ""
