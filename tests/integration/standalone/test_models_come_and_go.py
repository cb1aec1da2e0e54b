"""Models that plain servers load and unload: listed while a server names them, known while it is away, else gone."""

import asyncio
import json
from functools import partial

import pytest

from deployments.standalone.server_address import ServerAddress
from tests.integration.standalone.plain_server import (
    PlainServer,
    chat,
    gateway_before,
    in_flight,
    listed,
    names,
    page,
    replicas,
    until,
)

EXPLAIN = b"x-rackserve-explain: 1\r\n"
DOCUMENT = "A long document that many prompts share. " * 120


async def test_a_name_that_its_server_no_longer_has_is_gone() -> None:
    """404, not listed, no metrics left, and the gateway is ready; the new name is served."""
    async with PlainServer("old", "adapter") as server, gateway_before(server) as gateway:
        assert await names(gateway) == ["adapter", "old"]
        assert (await chat(gateway, "old"))[0] == 200
        server.models = ["new"]

        async def is_new() -> bool:
            return await names(gateway) == ["new"]

        await until(is_new)
        for model in ("old", "adapter"):
            status, headers, body = await chat(gateway, model)
            assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
            assert "retry-after" not in headers
        assert (await chat(gateway, "new"))[0] == 200
        assert (await page(gateway, "/ready"))[0] == 200
        metrics = (await page(gateway, "/metrics", admin=True))[1].decode()
        assert 'model="new"' in metrics
        assert 'model="old"' not in metrics
        assert 'model="adapter"' not in metrics


async def test_a_request_that_outlives_its_model_ends_well_and_leaves_no_metrics() -> None:
    """Its answer comes whole; what it counts is not kept under a name that nobody has."""
    async with PlainServer("m", "brief") as server, gateway_before(server) as gateway:
        held = asyncio.create_task(chat(gateway, "brief", "HOLD"))

        async def runs() -> bool:
            return await in_flight(gateway, "brief", server) == 1

        await until(runs)
        server.models = ["m"]

        async def is_gone() -> bool:
            return await names(gateway) == ["m"]

        await until(is_gone)
        server.held.set()
        assert (await held)[0] == 200
        assert "brief" not in (await page(gateway, "/metrics", admin=True))[1].decode()


async def test_a_server_that_is_away_keeps_its_names() -> None:
    """503 with Retry-After, not 404: the model exists, and its server may come back."""
    async with PlainServer("a") as first, PlainServer("b") as second, gateway_before(first, second) as gateway:
        await second.stop()

        async def is_away() -> bool:
            return (await chat(gateway, "b"))[0] == 503

        await until(is_away)
        status, headers, body = await chat(gateway, "b")
        assert (status, json.loads(body)["error"]["code"]) == (503, "no_replica")
        assert int(headers["retry-after"]) >= 1
        assert await names(gateway) == ["a", "b"]
        assert (await chat(gateway, "a"))[0] == 200
        assert (await chat(gateway, "c"))[0] == 404
        await second.start()

        async def is_back() -> bool:
            return (await chat(gateway, "b"))[0] == 200

        await until(is_back)


async def test_a_name_nobody_knows_is_503_until_every_server_was_heard() -> None:
    """A server that still loads may have the model, so SDKs shall ask again; afterwards 404 ends it."""
    loading = PlainServer("big")
    await loading.start()
    await loading.stop()
    async with PlainServer("small") as up, gateway_before(up, loading) as gateway:
        assert (await chat(gateway, "small"))[0] == 200
        assert (await page(gateway, "/ready"))[0] == 200
        status, headers, body = await chat(gateway, "big")
        assert (status, json.loads(body)["error"]["code"]) == (503, "no_replica")
        assert int(headers["retry-after"]) >= 1
        async with loading:

            async def is_served() -> bool:
                return (await chat(gateway, "big"))[0] == 200

            await until(is_served)
            assert (await chat(gateway, "none"))[0] == 404


async def test_a_server_that_answers_with_an_error_while_it_loads_has_not_been_heard() -> None:
    """llama.cpp's server listens at once and answers 503 until its model is there."""
    async with PlainServer("m") as server:
        server.list_status = 503
        async with gateway_before(server) as gateway:
            assert (await chat(gateway, "m"))[0] == 503
            status, body = await page(gateway, "/ready", admin=True)
            assert status == 503
            assert server.address.name in body.decode()
            server.list_status = 200

            async def is_served() -> bool:
                return (await chat(gateway, "m"))[0] == 200

            await until(is_served)


async def test_an_adapter_that_is_loaded_changes_nothing_for_the_other_models() -> None:
    """The same replica id, the requests there still counted, and what was learned of the cache still guides."""
    async with PlainServer("base") as one, PlainServer("base") as two, gateway_before(one, two) as gateway:
        await chat(gateway, "base", DOCUMENT)
        held = [asyncio.create_task(chat(gateway, "base", f"HOLD {number}")) for number in range(4)]

        async def runs() -> bool:
            return await in_flight(gateway, "base", one) + await in_flight(gateway, "base", two) == 4

        await until(runs)
        before = {name: row["in_flight"] for name, row in (await replicas(gateway, "base")).items()}
        assert set(before) == {one.address.name, two.address.name}
        for server in (one, two):
            server.models = ["base", {"id": "lora", "parent": "base"}]

        async def is_loaded() -> bool:
            return len(await replicas(gateway, "lora")) == 2

        await until(is_loaded)
        assert {name: row["in_flight"] for name, row in (await replicas(gateway, "base")).items()} == before
        assert (await chat(gateway, "lora"))[0] == 200
        _, again, _ = await chat(gateway, "base", DOCUMENT, headers=EXPLAIN)
        assert int(again["x-rackserve-matched-chars"]) > 4000
        for server in (one, two):
            server.held.set()
        assert [status for status, _, _ in await asyncio.gather(*held)] == [200] * 4


@pytest.mark.parametrize(("started", "holds"), [("1.7e+09", True), ("1.8e+09", False)])
async def test_a_flap_resets_nothing_and_a_restart_empties_the_cache(
    started: str,
    holds: bool,  # noqa: FBT001 - parametrized
) -> None:
    """Back with the same process, a server has what was learned of its cache; another process starts empty."""
    async with PlainServer("m") as server:
        server.metrics = "process_start_time_seconds 1.7e+09\n"
        async with gateway_before(server) as gateway:
            await chat(gateway, "m", DOCUMENT)

            async def matched() -> int:
                _, headers, _ = await chat(gateway, "m", DOCUMENT + "?", headers=EXPLAIN)
                return int(headers.get("x-rackserve-matched-chars", -1))

            assert await matched() > 4000
            server.metrics = f"process_start_time_seconds {started}\n"
            await server.stop()

            async def answers(status: int) -> bool:
                return (await chat(gateway, "m"))[0] == status

            await until(partial(answers, 503))
            await server.start()
            await until(partial(answers, 200))
            assert (await matched() > 4000) is holds


async def test_servers_are_added_and_taken_out_while_it_runs() -> None:
    """`set_servers` takes effect at once: a new server's models are served, those of one taken out are gone."""
    async with PlainServer("a") as first, PlainServer("b") as second, gateway_before(first) as gateway:
        gateway.set_servers([first.address, second.address])

        async def both() -> bool:
            return await names(gateway) == ["a", "b"]

        await until(both)
        assert (await chat(gateway, "b"))[0] == 200
        gateway.set_servers([second.address])

        async def one() -> bool:
            return await names(gateway) == ["b"]

        await until(one)
        assert (await chat(gateway, "a"))[0] == 404
        assert [row["id"] for row in await listed(gateway)] == ["b"]


async def test_without_any_model_it_is_not_ready() -> None:
    """A gateway that knows no model can serve nothing; the reason names who has not answered."""
    nobody = ServerAddress("127.0.0.1", 1)
    async with gateway_before(nobody) as gateway:
        status, body = await page(gateway, "/ready", admin=True)
        assert (status, nobody.name in body.decode()) == (503, True)
