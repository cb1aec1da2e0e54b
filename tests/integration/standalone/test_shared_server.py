"""Several models on one server are one engine: what runs for one of them is load for all."""

import asyncio
from dataclasses import replace

from tests.integration.standalone.plain_server import PlainServer, chat, gateway_before, in_flight, until


async def test_load_of_one_model_sends_requests_for_another_elsewhere() -> None:
    """`least_load` sees the requests of all names of a server."""
    async with (
        PlainServer("base", "lora") as busy,
        PlainServer("lora") as idle,
        gateway_before(busy, idle, policy="least_load") as gateway,
    ):
        held = [asyncio.create_task(chat(gateway, "base", f"HOLD {number}")) for number in range(3)]

        async def runs() -> bool:
            return await in_flight(gateway, "base", busy) == 3

        await until(runs)
        for _ in range(4):
            assert (await chat(gateway, "lora"))[0] == 200
        assert len(idle.answered) == 4
        busy.held.set()
        assert [status for status, _, _ in await asyncio.gather(*held)] == [200] * 3


async def test_a_bound_on_a_servers_requests_is_over_all_its_models_and_none_starves() -> None:
    """Two places, two models that both want more: never more than two run, and each gets its turn."""
    most = 0
    async with PlainServer("a", "b") as server:
        address = replace(server.address, max_requests=2)
        async with gateway_before(address) as gateway:
            asked = [asyncio.create_task(chat(gateway, "ab"[number % 2], "HOLD")) for number in range(12)]

            async def all_wait() -> bool:
                rows = [await in_flight(gateway, name, address) for name in "ab"]
                return sum(rows) == 2

            await until(all_wait)
            for _ in range(20):
                await asyncio.sleep(0.01)
                rows = [await in_flight(gateway, name, address) for name in "ab"]
                most = max(most, sum(rows))
            server.held.set()
            assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 12
            assert most == 2
            order = [body["model"] for body in server.answered]
            assert set(order[2:8]) == {"a", "b"}


async def test_all_models_of_a_server_share_its_connections() -> None:
    """One after the other, requests for any of its models go over one connection."""
    async with PlainServer("a", "b", "c") as server, gateway_before(server) as gateway:
        accepted = server.accepted
        for name in "abcabc":
            assert (await chat(gateway, name))[0] == 200
        assert server.accepted <= accepted + 1
