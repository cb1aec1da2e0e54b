"""`rackserve_loop_block_seconds` tells how long a gateway's event loop stood still, and ordinary work keeps it low."""

import asyncio
import json
import time

from router.http.gateway import Gateway
from tests.engine_contract.served_engine import metric_in
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway, until
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain
from tests.machine_speed import slowness

MOST_S = 0.1
"""Seconds that ordinary requests may hold the loop in this test, where client and replica share it."""
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "word " * 2000} for _ in range(40)]}).encode()


async def _answer(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'))


async def _longest_s(gateway: Gateway) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.admin_port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
    _, _, page = await read_response(reader)
    writer.close()
    return metric_in(page.decode(), "rackserve_loop_block_seconds")


async def test_long_chats_hold_the_loop_for_a_moment_only() -> None:
    """Eighty requests of 400 KB each, eight at a time."""
    async with ScriptedReplica(_answer) as replica, running_gateway([replica.port]) as gateway:

        async def client() -> None:
            for _ in range(10):
                assert (await ask(gateway.port, request(CHAT)))[0] == 200

        await asyncio.gather(*(client() for _ in range(8)))
        assert await _longest_s(gateway) < MOST_S * slowness()


async def test_a_loop_that_stood_still_is_seen() -> None:
    """A stop shorter than a tick of the gateway's, while requests come."""
    async with ScriptedReplica(_answer) as replica, running_gateway([replica.port]) as gateway:
        watch = gateway._plane.loop_watch

        async def asks_until_watched() -> None:
            while watch._beats is None:
                assert (await ask(gateway.port, request(CHAT)))[0] == 200

        await asks_until_watched()
        await asyncio.sleep(0.05)
        time.sleep(0.2)  # noqa: ASYNC251 - the stop
        await until(lambda: watch.longest_s >= 0.15)
        assert 0.15 <= await _longest_s(gateway) < 0.2 + MOST_S * slowness()
