"""Whether a plain server is alive: by polls and by its answers to requests, which are the best sign."""

import asyncio
import json
import os
import subprocess
import sys
from functools import partial

import pytest

from tests.integration.standalone.plain_server import PlainServer, chat, gateway_before, replicas, until


async def test_a_server_too_busy_for_polls_gets_requests_as_long_as_it_answers_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers to requests count: polls time out for longer than a silent server is kept, and no request is refused."""
    monkeypatch.setattr("deployments.standalone.server.LOST_S", 1.0)
    async with PlainServer("m") as server, gateway_before(server, patience_s=0.2) as gateway:
        server.list_delay_s = 60.0
        loop = asyncio.get_running_loop()
        polls, until_s = server.polls, loop.time() + 3.0
        while loop.time() < until_s:
            assert (await chat(gateway, "m"))[0] == 200
            await asyncio.sleep(0.05)
        assert server.polls > polls


async def test_a_server_that_answers_polls_with_errors_and_requests_well_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An overloaded server may answer its list with 503 for a while."""
    monkeypatch.setattr("deployments.standalone.server.LOST_S", 0.5)
    async with PlainServer("m") as server, gateway_before(server) as gateway:
        server.list_status = 503
        for _ in range(20):
            assert (await chat(gateway, "m"))[0] == 200
            await asyncio.sleep(0.1)


async def test_a_slow_server_is_left_out_while_another_is_well_and_asked_where_none_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two polls that time out make it `silent`: picked last, not never."""
    monkeypatch.setattr("deployments.standalone.server.LOST_S", 60.0)
    async with (
        PlainServer("m") as well,
        PlainServer("m", "only") as slow,
        gateway_before(well, slow, policy="round_robin", patience_s=0.2) as gateway,
    ):
        slow.list_delay_s = 60.0

        async def is_silent() -> bool:
            return "silent" in [row["presence"] for row in (await replicas(gateway, "m")).values()]

        await until(is_silent)
        for _ in range(4):
            await chat(gateway, "m")
        assert slow.answered == []
        assert (await chat(gateway, "only"))[0] == 200


async def test_a_server_that_gives_no_sign_at_all_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer to polls or requests for `LOST_S`, its models are answered with 503."""
    monkeypatch.setattr("deployments.standalone.server.LOST_S", 1.0)
    async with PlainServer("m") as server, gateway_before(server, patience_s=0.2) as gateway:
        server.list_delay_s = 60.0

        async def is_out() -> bool:
            with_time = asyncio.wait_for(chat(gateway, "m", "HOLD"), 0.3)
            try:
                return (await with_time)[0] == 503
            except TimeoutError:
                return False

        await until(is_out)


async def test_a_server_that_refuses_connections_is_out_at_once() -> None:
    """Nothing listens there: two polls are enough, long before a slow server would be given up."""
    async with PlainServer("m") as server, gateway_before(server) as gateway:
        await server.stop()
        began_s = asyncio.get_running_loop().time()

        async def answers(status: int) -> bool:
            return (await chat(gateway, "m"))[0] == status

        await until(partial(answers, 503))
        assert asyncio.get_running_loop().time() - began_s < 10.0


async def test_polls_go_the_way_of_requests() -> None:
    """With a proxy in the environment, the gateway's polls and requests both go straight to the server."""
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    blocking = await asyncio.start_server(proxy, "127.0.0.1", 0)
    at = f"http://127.0.0.1:{blocking.sockets[0].getsockname()[1]}"
    variables = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"), at)
    program = (
        "import asyncio, sys\n"
        "from tests.integration.standalone.plain_server import PlainServer, chat, gateway_before, names\n"
        "async def main():\n"
        "    async with PlainServer('m') as server, gateway_before(server) as gateway:\n"
        "        print((await chat(gateway, 'm'))[0], await names(gateway))\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, **variables, "NO_PROXY": "", "no_proxy": ""}
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert "200 ['m']" in ran.stdout, ran.stderr
    assert asked == []
    blocking.close()


async def test_polls_of_a_server_stop_when_it_is_taken_out() -> None:
    """Nothing goes on asking a server that the gateway no longer has."""
    async with PlainServer("a") as stays, PlainServer("b") as goes, gateway_before(stays, goes) as gateway:
        gateway.set_servers([stays.address])
        await asyncio.sleep(0)
        polls = goes.polls

        async def stays_polled() -> bool:
            return stays.polls >= 3

        await until(stays_polled)
        assert goes.polls == polls
        assert json.loads((await chat(gateway, "b"))[2])["error"]["code"] == "model_not_found"
