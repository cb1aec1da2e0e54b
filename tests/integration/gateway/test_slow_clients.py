"""A client's pace holds back its own answer, and nothing of it stays on a replica's connection."""

import asyncio
import json
import socket
import time
from collections.abc import Callable

import pytest

from cluster.spec.model_spec import ModelSpec
from router.http.wire.chunked import LAST_CHUNK, chunk
from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream.receiver import Sink
from router.http.wire.upstream.upstream import UpstreamConnection, UpstreamPool
from router.replicas.endpoint import Endpoint
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway, until
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

HEALTH = b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"
ENGINE_ERROR = chunk(b'data: {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}\n\n')
ALL_BYTES = 40_000_000
"""More than all buffers between a replica and a client hold."""


async def slow_connection(port: int, buffer_bytes: int = 4096) -> socket.socket:
    """Return a connection whose buffers are small, and from which nothing is read unless the test does."""
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.settimeout(0)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return connection


async def _padded(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"x" * json.loads(received.body).get("size", 2)))


async def _read_after_a_pause(port: int, size: int) -> int:
    connection = await slow_connection(port)
    loop = asyncio.get_running_loop()
    with connection:
        await loop.sock_sendall(
            connection, request(b'{"model":"m","size":%d}' % size, headers=b"connection: close\r\n")
        )
        await asyncio.sleep(0.3)  # nothing shows from outside that the gateway has noticed
        got = 0
        while data := await loop.sock_recv(connection, 1 << 20):
            got += len(data)
        return got


async def test_after_slow_clients_every_connection_is_read_again() -> None:
    """Answers of any size, read slowly but whole, leave no connection in the pool that nobody reads."""
    sizes = range(60_000, 700_000, 16_000)
    async with ScriptedReplica(_padded) as replica, running_gateway([replica.port]) as gateway:
        read = await asyncio.gather(*(_read_after_a_pause(gateway.port, size) for size in sizes))
        assert all(got > size for got, size in zip(read, sizes, strict=True))
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*(ask(gateway.port, request()) for _ in sizes))
        assert {status for status, _, _ in answers} == {200}


class _SlowReceiver:
    """Has reading stopped at every read of its answer, as a client does that never keeps up."""

    head_request = False
    upgrades = False

    def __init__(self, connection: UpstreamConnection, *, goes_on: bool) -> None:
        self.done = asyncio.Event()
        self.body = b""
        self._connection = connection
        self._goes_on = goes_on

    def upstream_head(self, _head: ResponseHead, body: bytes) -> Sink:
        self._take(body)
        return self._take

    def _take(self, data: bytes) -> None:
        self.body += data
        self._connection.pause()
        if self._goes_on:
            asyncio.get_running_loop().call_soon(self._connection.resume)

    def upstream_done(self) -> None:
        self.done.set()

    def upstream_is_slow(self) -> None: ...

    def upstream_caught_up(self) -> None: ...

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        raise AssertionError(reason, between_chunks)


@pytest.mark.parametrize("goes_on", [True, False])
async def test_the_pool_has_connections_that_are_read(goes_on: bool) -> None:  # noqa: FBT001 - a table
    """Whatever the last request's client did, the next request on the connection is answered."""
    async with ScriptedReplica(_padded) as replica:
        pool = UpstreamPool(Endpoint("r", "m", "127.0.0.1", replica.port), 3.0, 0.25)
        connection = await pool.connect()
        for size in (10, 10) if not goes_on else (10, 3_000_000, 10):
            receiver = _SlowReceiver(connection, goes_on=goes_on)
            body = b'{"size":%d}' % size
            connection.send(receiver, b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body), body)
            async with asyncio.timeout(5):
                await receiver.done.wait()
            assert len(receiver.body) == size
            assert pool.take() is connection
        connection.abandon()


async def test_a_connection_on_which_a_request_was_left_unread_is_not_used_again() -> None:
    """A replica that answers before it has read a large request would take the next one for its rest."""
    connections = 0

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain(b'"hasty"'))
        await writer.drain()
        await stopped.wait()
        writer.close()

    stopped = asyncio.Event()
    server = await asyncio.start_server(hasty, "127.0.0.1", 0, limit=4096)
    port = server.sockets[0].getsockname()[1]
    async with running_gateway([port]) as gateway:
        large = b'{"model":"m","x":"%s"}' % (b"y" * 20_000_000)
        for _ in range(2):
            assert (await ask(gateway.port, request(large)))[2] == b'"hasty"'
        assert connections == 2
        stopped.set()
        server.close()


async def test_a_replica_that_reads_a_large_request_slowly_is_not_silent() -> None:
    """Its time runs from when it has the request, as long as it goes on reading."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while left:
            left -= len(await reader.read(500_000))
            await asyncio.sleep(0.025)
        writer.write(plain(b'"read"'))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0, limit=500_000)
    port = server.sockets[0].getsockname()[1]
    model = ModelSpec(name="m", engine="sim", policy="round_robin", request_timeout_s=0.75)
    async with running_gateway([port], models=[model]) as gateway:
        began_s = time.monotonic()
        body = b'{"model":"m","x":"%s"}' % (b"y" * 25_000_000)
        assert (await ask(gateway.port, request(body)))[2] == b'"read"'
        assert time.monotonic() - began_s > 1.0, "the test's replica was not slow"
    server.close()


def _event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return chunk(b"data: " + json.dumps({"id": "x", "created": 1, "choices": [choice]}).encode() + b"\n\n")


async def _where_it_stands_still(count: Callable[[], int]) -> int:
    """Return a count once it does not grow any more."""
    last = -1
    while (seen := count()) != last:
        last = seen
        await asyncio.sleep(0.3)
    return last


async def test_the_replica_that_continues_a_slow_clients_stream_is_held_back_too() -> None:
    """The client still does not read: what the second replica says must not pile up in the gateway."""
    sent_by_second = 0
    both_asked = asyncio.Event()

    def unread() -> int:
        (connection,) = gateway._connections  # how much a client is behind shows nowhere else
        return connection.transport.get_write_buffer_size()

    async def gives_up(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + _event("a"))
        await asyncio.sleep(0.1)
        while unread() < 30_000:
            writer.write(_event("a" * 10_000))
            await asyncio.sleep(0.005)
        # With the words that come together with the error, it is too much: the other replica is asked at this moment.
        writer.write(_event("a" * 40_000) + ENGINE_ERROR)

    async def goes_on(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_by_second
        both_asked.set()
        writer.write(SSE_HEAD)
        for _count in range(ALL_BYTES // 100_000):
            writer.write(_event("b" * 100_000))
            sent_by_second += 100_000
            await writer.drain()
        writer.write(_event("", "stop") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    async def speak(received: Received, writer: asyncio.StreamWriter) -> None:
        is_first = json.loads(received.body)["messages"][-1]["role"] == "user"
        await (gives_up if is_first else goes_on)(received, writer)

    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}]}'
    async with (
        ScriptedReplica(speak) as one,
        ScriptedReplica(speak) as two,
        running_gateway([one.port, two.port]) as gateway,
    ):
        connection = await slow_connection(gateway.port, 1 << 16)
        reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 16)
        writer.write(request(body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(5):
            await both_asked.wait()
        await _where_it_stands_still(unread)
        assert unread() < 1_000_000, "what the second replica said piled up"
        stuck_at = sent_by_second
        while sent_by_second == stuck_at:
            assert await reader.read(1 << 16), "the stream broke off"
        writer.transport.abort()


async def test_a_client_that_leaves_a_paused_answer_ends_the_replicas_work() -> None:
    """The client does not read, then goes: the replica's connection closes."""

    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        while not writer.is_closing():
            writer.write(chunk(b"z" * 65536))
            await writer.drain()

    async with ScriptedReplica(flood) as replica, running_gateway([replica.port]) as gateway:
        connection = await slow_connection(gateway.port)
        await asyncio.get_running_loop().sock_sendall(connection, request())
        await asyncio.sleep(0.3)
        connection.close()
        async with asyncio.timeout(2):
            await replica.one_closed.wait()
        assert gateway.state()["models"]["m"]["replicas"][0]["in_flight"] == 0


async def test_a_client_that_asks_on_and_leaves_is_noticed() -> None:
    """The next request, sent before the answer to the first, does not hide that the client has gone."""

    async def never(_: Received, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with ScriptedReplica(never) as replica, running_gateway([replica.port]) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        await writer.drain()
        await until(lambda: bool(replica.received))
        writer.write(request())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await until(lambda: not gateway.state()["models"]["m"]["replicas"][0]["in_flight"])


async def test_answers_do_not_pile_up_for_a_client_that_only_asks() -> None:
    """Requests sent together are answered no further than the client reads; then it gets them all."""
    raw = request(b'{"model":"m","size":1000000}')
    asked = 60
    async with ScriptedReplica(_padded) as replica, running_gateway([replica.port]) as gateway:
        connection = await slow_connection(gateway.port, 1 << 16)
        await asyncio.get_running_loop().sock_sendall(connection, raw * asked)
        await asyncio.sleep(0.7)
        assert len(replica.received) < 20, "answers were fetched that nobody reads"
        reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 20)
        for _ in range(asked):
            assert (await read_response(reader))[0] == 200
        writer.close()


async def test_the_body_of_a_held_request_is_answered_whole() -> None:
    """A large request that comes while an answer is running is held, in part unread, and answered afterwards."""

    async def echo(received: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        writer.write(plain(received.body))

    bodies = [b'{"model":"m"}', b'{"model":"m","x":"%s"}' % (b"y" * 3_000_000), b'{"model":"m","n":3}']
    async with ScriptedReplica(echo) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1 << 22)
        writer.write(b"".join(map(request, bodies)) + HEALTH)
        assert [(await read_response(reader))[2] for _ in bodies] == bodies
        assert (await read_response(reader))[2] == b'{"status":"ok"}'
        writer.close()


async def test_clients_that_read_nothing_are_given_up() -> None:
    """Whether the answer is still running, or complete and only not read: the connection does not stay."""
    async with ScriptedReplica(_padded) as replica, running_gateway([replica.port], idle_timeout_s=0.75) as gateway:
        silent = []
        for size in (1000, *range(2_000_000, 5_000_000, 100_000), 20_000_000):
            silent.append(await slow_connection(gateway.port))
            raw = request(b'{"model":"m","size":%d}' % size)
            await asyncio.get_running_loop().sock_sendall(silent[-1], raw)
        await until(lambda: not gateway.state()["connections"], within_s=4)
        for connection in silent:
            connection.close()
