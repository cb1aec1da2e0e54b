"""A client that sends nothing more gets its answers; one that has left is noticed all the same."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router.http.gateway import Gateway
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.certificates import CertificateAuthority
from tests.integration.gateway.running_gateway import request, running_gateway, until
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

USAGE = b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}'
STREAM = b'{"model":"m","stream":true,"messages":[]}'
EVENT = chunk(b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n')


def _http_1_0(raw: bytes) -> bytes:
    return raw.replace(b"HTTP/1.1", b"HTTP/1.0")


def _closing(raw: bytes) -> bytes:
    return raw.replace(b"host: t", b"host: t\r\nconnection: close")


async def _answers_after_a_while(received: Received, writer: asyncio.StreamWriter) -> None:
    if b'"stream":true' not in received.body:
        await asyncio.sleep(1.2)
        writer.write(plain(USAGE))
        return
    writer.write(SSE_HEAD)
    await writer.drain()
    await asyncio.sleep(0.8)
    for _ in range(3):
        writer.write(EVENT)
        await writer.drain()
        await asyncio.sleep(0.3)
    writer.write(LAST_CHUNK)


async def _said_to(port: int, raw: bytes) -> bytes:
    """Send bytes, end the sending side, and return what comes until the gateway closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    writer.write_eof()
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said


@pytest.mark.parametrize(
    ("raw", "interims"),
    [
        (request(), 1),
        (_closing(request()), 1),
        (_http_1_0(request()), 0),
        (request(STREAM), 0),
        (_closing(request(STREAM)), 0),
        (_http_1_0(request(STREAM)), 0),
    ],
    ids=["whole", "whole, closing", "whole, HTTP/1.0", "stream", "stream, closing", "stream, HTTP/1.0"],
)
async def test_a_client_that_sends_nothing_more_gets_its_answer(raw: bytes, interims: int) -> None:
    """It gets all of it, and then the connection is closed. Interim answers, which it skips, come only before."""
    async with ScriptedReplica(_answers_after_a_while) as replica, running_gateway([replica.port]) as gateway:
        said = await _said_to(gateway.port, raw)
        assert said.count(b"HTTP/1.1 100 Continue\r\n\r\n") == interims
        said = said.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(USAGE) or said.count(b'"content":"hi"') == 3
        assert {row["outcome"]: row["count"] for row in gateway.state()["outcomes"]} == {"ok": 1}
        await until(lambda: not len(gateway._connections))


async def test_a_quick_answer_is_as_ever() -> None:
    """An answer that takes no time has nothing before it."""

    async def at_once(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(USAGE))

    async with ScriptedReplica(at_once) as replica, running_gateway([replica.port]) as gateway:
        for raw in (request(), _http_1_0(request()), b"GET /v1/models HTTP/1.1\r\nhost: t\r\n\r\n"):
            said = await _said_to(gateway.port, raw)
            assert said.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b" 100 " not in said


async def test_all_requests_that_were_sent_are_answered() -> None:
    """Several requests before the end are answered in their order; the start of a further one is not."""
    async with ScriptedReplica(_answers_after_a_while) as replica, running_gateway([replica.port]) as gateway:
        said = await _said_to(gateway.port, request() + request(STREAM) + request() + b"POST /v1/chat")
        assert said.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert said.endswith(USAGE)


async def test_half_a_request_is_not_waited_for() -> None:
    """A client that ends within its request is gone, or has broken off: the connection closes."""
    async with running_gateway([]) as gateway:
        assert await _said_to(gateway.port, request()[:-3]) == b""
        assert await _said_to(gateway.port, b"") == b""


def _in_flight(gateway: Gateway) -> int:
    count = gateway.state()["models"]["m"]["replicas"][0]["in_flight"]
    assert isinstance(count, int)
    return count


@asynccontextmanager
async def _silent(said: Sequence[bytes] = (), *, tls: dict[str, str] | None = None) -> AsyncIterator[Gateway]:
    """Yield a gateway before a replica that begins an answer, perhaps, and then says nothing."""

    async def begins(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(said))
        await writer.drain()
        await asyncio.sleep(30)

    async with ScriptedReplica(begins) as replica, running_gateway([replica.port], tls=tls) as gateway:
        yield gateway


@pytest.mark.parametrize("said", [(), (SSE_HEAD,)], ids=["nothing yet", "head"])
@pytest.mark.parametrize("raw", [request(), request(STREAM), _closing(request())], ids=["whole", "stream", "closing"])
async def test_a_client_that_leaves_is_noticed_soon(raw: bytes, said: Sequence[bytes]) -> None:
    """The replica's connection closes in about a second, though nothing of the answer comes that could be written."""
    async with _silent(said) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(raw)
        await until(lambda: _in_flight(gateway) == 1)
        await asyncio.sleep(0.1)
        writer.close()
        await until(lambda: not _in_flight(gateway), within_s=1.5)


async def test_a_client_that_leaves_its_stream_is_noticed_by_its_next_tokens() -> None:
    """Once tokens flow, they are what shows it, whatever the client speaks."""

    async def streams(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        while not writer.is_closing():
            writer.write(EVENT)
            await writer.drain()
            await asyncio.sleep(0.05)

    async with ScriptedReplica(streams) as replica, running_gateway([replica.port]) as gateway:
        for raw in (request(STREAM), _http_1_0(request(STREAM))):
            replica.one_closed.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(raw)
            await reader.readuntil(b'"hi"')
            writer.write_eof()
            await reader.readuntil(b'"hi"')
            writer.close()
            async with asyncio.timeout(1):
                await replica.one_closed.wait()
        assert not _in_flight(gateway)


async def test_a_client_that_sends_nothing_more_and_then_leaves_is_noticed() -> None:
    """It is looked for again while it waits."""
    async with _silent() as gateway:
        connection = socket.create_connection(("127.0.0.1", gateway.port))
        connection.sendall(request())
        connection.shutdown(socket.SHUT_WR)
        await asyncio.sleep(1)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert _in_flight(gateway) == 1
        connection.close()
        await until(lambda: not _in_flight(gateway), within_s=8)


async def test_with_tls_an_end_is_an_end(tmp_path: Path) -> None:
    """TLS as it is used here ends both ways at once: the client has left."""
    authority = CertificateAuthority(tmp_path)
    certificate, key = authority.issue("127.0.0.1")
    async with _silent(tls={"cert_file": str(certificate), "key_file": str(key)}) as gateway:
        trusting = ssl.create_default_context(cafile=authority.ca_file)
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=trusting)
        writer.write(request())
        await until(lambda: _in_flight(gateway) == 1)
        writer.close()
        await until(lambda: not _in_flight(gateway), within_s=1)
