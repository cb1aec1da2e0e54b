"""Replicas that pass KV blocks on: what their rows say, and how one of them ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from cluster.spec.kv_duties import KvDuties
from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from deployments.replica.engine_registry import engine_for
from deployments.replica.partners import why_unfit
from deployments.replica.server import ReplicaServer
from router.replicas.endpoint import Endpoint
from tests.machine_speed import slowness

CREDENTIAL = "secret"
PROMPT = [7000 + number for number in range(150)]


def model(**sim: object) -> ModelSpec:
    """Return a simulated model whose leases end by themselves long after a test."""
    settings = {"kv_blocks": 40, "block_tokens": 32, "transfer_lease_s": 600, **sim}
    return ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": settings})


@asynccontextmanager
async def replica(role: Role, spec: ModelSpec) -> AsyncIterator[tuple[ReplicaServer, Endpoint]]:
    """Start a replica; yield it with its row."""
    server = ReplicaServer(
        spec, engine_for(spec, duties=KvDuties.of(role)), replica_id=role, host="127.0.0.1", credential=CREDENTIAL
    )
    try:
        yield server, await server.start()
    finally:
        await server.stop()


async def complete(endpoint: Endpoint, **body: object) -> dict[str, Any]:
    """Ask as a gateway would."""
    headers = {"authorization": f"Bearer {CREDENTIAL}"}
    async with httpx.AsyncClient(headers=headers, base_url=f"http://{endpoint.host}:{endpoint.http_port}") as client:
        response = await client.post("/v1/completions", json={"model": "m", "prompt": PROMPT, **body})
    answer: dict[str, Any] = response.json()
    assert response.status_code == 200, answer
    return answer


async def test_rows_say_who_fits_whom() -> None:
    """Two roles of one model fit; with blocks of another size they do not; a replica for both passes nothing on."""
    odd = model(block_tokens=16)
    async with (
        replica(Role.PREFILL, model()) as (_, prefill),
        replica(Role.DECODE, model()) as (_, decode),
        replica(Role.DECODE, odd) as (_, unfit),
        replica(Role.BOTH, model()) as (_, both),
    ):
        assert prefill.transfer is not None
        assert decode.transfer is not None
        assert prefill.transfer.why_not_to(decode.transfer) == ""
        assert why_unfit(decode, [prefill, both]) == ""
        assert "KV blocks have 32 and 16 tokens" in why_unfit(unfit, [prefill])
        assert both.transfer is None


async def test_a_draining_replica_waits_for_what_it_has_promised() -> None:
    """It ends when its prompts have been fetched, long before their leases, and at its time limit if they are not."""
    async with replica(Role.PREFILL, model()) as (server, prefill), replica(Role.DECODE, model()) as (_, decode):
        computed = await complete(prefill, max_tokens=1, kv_transfer_params={"do_remote_decode": True})
        draining = asyncio.create_task(server.drain(120))
        await asyncio.sleep(1.5)
        assert not draining.done(), "requests have ended, but a prompt is still to be fetched"
        await complete(decode, max_tokens=3, kv_transfer_params=computed["kv_transfer_params"])
        await asyncio.wait_for(draining, 3 * slowness())

        await complete(prefill, max_tokens=1, kv_transfer_params={"do_remote_decode": True})
        await asyncio.wait_for(server.drain(1.0), 1.0 + 3 * slowness())


async def test_engines_without_a_role_ignore_the_parameters() -> None:
    """As vLLM without a connector: the prompt is computed, and nothing is kept."""
    async with replica(Role.BOTH, model()) as (_, both):
        for params in ({"do_remote_decode": True}, {"do_remote_prefill": True, "remote_block_ids": [[1]]}):
            answer = await complete(both, max_tokens=1, kv_transfer_params=params)
            assert answer["kv_transfer_params"] is None
