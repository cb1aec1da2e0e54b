"""A WebSocket passes through the gateway to a replica of its model, with any client and any server."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from cluster.spec.model_spec import ModelSpec
from router.http.gateway import Gateway
from tests.integration.gateway.running_gateway import ask, request, running_gateway, until
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

TENANTS = [{"name": "t", "key_sha256": sha256(b"k").hexdigest()}]
SUBPROTOCOLS = [
    Subprotocol("realtime"),
    Subprotocol("openai-insecure-api-key.k"),
    Subprotocol("openai-beta.realtime-v1"),
]
HANDSHAKE = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nhost: t\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-odd: 1\r\n\r\n"


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)
        if message == "bye":
            return


@asynccontextmanager
async def echo_replica(seen: list[ServerConnection]) -> AsyncIterator[int]:
    """Run a WebSocket server that repeats messages; yields its port."""

    async def note_and_echo(connection: ServerConnection) -> None:
        seen.append(connection)
        await _echo(connection)

    def choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((each for each in offered if each == "realtime"), None)

    async with serve(note_and_echo, "127.0.0.1", 0, select_subprotocol=choose, max_size=1 << 24) as server:
        yield next(iter(server.sockets)).getsockname()[1]


def in_flight(gateway: Gateway) -> Sequence[int]:
    """Return the requests in flight on each replica."""
    return [row["in_flight"] for row in gateway.state()["models"]["m"]["replicas"]]


async def test_messages_go_both_ways_and_count_as_one_request() -> None:
    """Text and megabytes, until the replica closes; meanwhile the replica has one request more."""
    seen: list[ServerConnection] = []
    async with echo_replica(seen) as port, running_gateway([port], credential="inner") as gateway:
        url = f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=m"
        async with asyncio.timeout(10), connect(url, max_size=1 << 24, additional_headers={"x-evil": "1"}) as client:
            assert in_flight(gateway) == [1]
            large = "x" * 5_000_000
            for message in ("hello", large, "bye"):
                await client.send(message)
                assert await client.recv() == message
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert client.response is not None
        assert client.response.headers["x-request-id"]
        await until(lambda: in_flight(gateway) == [0])
        assert [(row["model"], row["outcome"]) for row in gateway.state()["outcomes"]] == [("m", "ok")]
        asked = seen[0].request
        assert asked is not None
        assert asked.path == "/v1/realtime?model=m"
        assert asked.headers["authorization"] == "Bearer inner"
        assert asked.headers["x-rackserve-gateway"] == "gateway-under-test"
        assert "x-evil" not in asked.headers


async def test_a_page_may_send_its_key_as_a_subprotocol() -> None:
    """The key opens the door and goes no further; without one, or with a wrong one, 401."""
    seen: list[ServerConnection] = []
    async with echo_replica(seen) as port, running_gateway([port], tenants=TENANTS) as gateway:
        url = f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=m"
        async with connect(url, subprotocols=SUBPROTOCOLS) as client:
            assert client.subprotocol == "realtime"
        assert seen[0].request is not None
        assert seen[0].request.headers["sec-websocket-protocol"] == "realtime, openai-beta.realtime-v1"
        async with connect(url, additional_headers={"authorization": "Bearer k"}):
            pass
        for headers in ({}, {"authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus, match="401"):
                await connect(url, additional_headers=headers)
        with pytest.raises(InvalidStatus, match="404"):
            await connect(url.replace("model=m", "model=none"), additional_headers={"authorization": "Bearer k"})
        assert len(seen) == 2


@pytest.mark.parametrize("path", ["/openai/realtime?api-version=1&deployment=m", "/openai/v1/realtime?model=m"])
async def test_azures_paths_are_the_same(path: str) -> None:
    """The deployment is the model, and the replica sees OpenAI's own path."""
    seen: list[ServerConnection] = []
    models = [ModelSpec(name=name, engine="sim", policy="round_robin") for name in ("m", "other")]
    async with echo_replica(seen) as port, running_gateway([port], models=models) as gateway:
        async with connect(f"ws://127.0.0.1:{gateway.port}{path}") as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert seen[0].request is not None
        assert seen[0].request.path == "/v1/realtime?model=m"


async def test_a_replica_that_takes_no_websocket_is_quoted() -> None:
    """Its answer is the client's, whole; the gateway goes on."""

    async def no_such_page(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b'{"detail":"Not Found"}').replace(b"200 OK", b"404 Not Found"))

    async with ScriptedReplica(no_such_page) as replica, running_gateway([replica.port]) as gateway:
        status, headers, body = await ask(gateway.port, HANDSHAKE)
        assert (status, headers["connection"], body) == (404, "close", b'{"detail":"Not Found"}')
        assert in_flight(gateway) == [0]


async def test_bytes_that_come_early_are_not_lost() -> None:
    """A client need not wait for 101 before it sends; the replica's first bytes may come with its 101."""
    accept = asyncio.Event()

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await accept.wait()
        writer.write(ACCEPTED + b"first")
        writer.write(await reader.readexactly(9))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(replica, "127.0.0.1", 0)
    async with running_gateway([server.sockets[0].getsockname()[1]]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(HANDSHAKE + b"one")
        await until(lambda: in_flight(gateway) == [1])
        writer.write(b"two")
        await writer.drain()
        await asyncio.sleep(0.05)
        accept.set()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert {b"x-odd: 1", b"upgrade: websocket", b"connection: Upgrade"} <= set(head.split(b"\r\n"))
        writer.write(b"thr")
        assert await reader.read() == b"firstonetwothr"
        writer.close()
    server.close()


@pytest.mark.parametrize("who_reads", ["client", "replica"])
async def test_who_does_not_read_holds_back_the_other(who_reads: str) -> None:
    """Nothing piles up in the gateway, in either direction; what was held back comes when it is read."""
    sent = 0
    go_on = asyncio.Event()
    total = 60_000_000

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(b"z" * 100_000)
            sent += 100_000
            await writer.drain()

    async def take(reader: asyncio.StreamReader) -> int:
        got = 0
        while got < total and (data := await reader.read(1 << 20)):
            got += len(data)
        return got

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ACCEPTED)
        if who_reads == "client":
            await pour(writer)
        else:
            await go_on.wait()
            writer.write(b"%d" % await take(reader))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(replica, "127.0.0.1", 0)
    async with running_gateway([server.sockets[0].getsockname()[1]]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        pouring = asyncio.ensure_future(pour(writer)) if who_reads == "replica" else None
        await asyncio.sleep(0.7)
        assert sent < 40_000_000
        go_on.set()
        async with asyncio.timeout(10):
            assert (await take(reader)) == total if who_reads == "client" else await reader.read() == b"%d" % total
        if pouring is not None:
            await pouring
        writer.close()
    server.close()


async def test_a_client_that_leaves_closes_the_replicas_side() -> None:
    """Without a closing handshake, too."""
    seen: list[ServerConnection] = []
    async with echo_replica(seen) as port, running_gateway([port]) as gateway:
        client = await connect(f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=m")
        client.transport.abort()
        async with asyncio.timeout(2):
            await seen[0].wait_closed()
        await until(lambda: in_flight(gateway) == [0])


async def test_a_websocket_on_which_nothing_happens_is_closed() -> None:
    """After the model's request timeout; one on which either side speaks stays."""
    model = ModelSpec(name="m", engine="sim", policy="round_robin", request_timeout_s=0.75)
    seen: list[ServerConnection] = []
    async with echo_replica(seen) as port, running_gateway([port], models=[model]) as gateway:
        async with connect(f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=m") as client, asyncio.timeout(5):
            for _ in range(6):
                await asyncio.sleep(0.25)
                await client.send("hello")
                assert await client.recv() == "hello"
            await client.wait_closed()
        assert in_flight(gateway) == [0]
        assert (await ask(gateway.port, b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"))[0] == 200


async def test_a_wish_for_a_websocket_elsewhere_is_ignored() -> None:
    """Only /v1/realtime is one; a chat that asks for one is a chat."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b'"fine"'))

    async with ScriptedReplica(answer) as replica, running_gateway([replica.port]) as gateway:
        raw = request(headers=b"connection: Upgrade\r\nupgrade: websocket\r\n")
        assert (await ask(gateway.port, raw))[2] == b'"fine"'
        assert (await ask(gateway.port, raw.replace(b"/v1/chat/completions", b"/v1/realtime")))[0] == 405
        plain_get = b"GET /v1/realtime?model=m HTTP/1.1\r\nhost: t\r\n\r\n"
        assert b"upgrade: websocket" in (await ask(gateway.port, plain_get))[2]
        assert json.loads((await ask(gateway.port, HANDSHAKE.replace(b"/v1/realtime", b"/v1/models")))[2])["data"]
