"""What a request leaves in memory: nothing that would have to wait for Python's search for cycles."""

import asyncio
import gc
import gzip

import pytest
from httptools import HttpRequestParser

from router.http.connection.client_connection import ClientConnection
from router.http.connection.decoding import Decoding
from router.http.connection.half_closed import HalfClosed
from router.http.exchange.exchange import Exchange
from router.http.exchange.passed_stream import PassedStream
from router.http.exchange.relayed_answer import RelayedAnswer
from router.http.wire.chunked import LAST_CHUNK, chunk
from router.http.wire.request import request_parser
from router.http.wire.request.request_parser import RequestParser
from tests.integration.gateway.running_gateway import ask, request, running_gateway, until
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

STREAMED = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}]%s}'


async def _answer(received: Received, writer: asyncio.StreamWriter) -> None:
    if b'"stream":true' not in received.body:
        writer.write(plain(b'{"usage":{"prompt_tokens":3,"completion_tokens":1}}'))
        return
    writer.write(SSE_HEAD + chunk(b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'))
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)


@pytest.mark.parametrize(
    "raw",
    [
        request(),
        request(STREAMED % b""),
        request(STREAMED % b',"max_tokens":9'),
        request(STREAMED % b',"stream_options":{"include_usage":true}'),
    ],
    ids=["whole", "stream", "stream with a limit", "stream with usage"],
)
async def test_an_answered_request_is_freed_at_once(raw: bytes) -> None:
    """With the search for cycles off, nothing of ten answered requests is left."""
    async with ScriptedReplica(_answer) as replica, running_gateway([replica.port]) as gateway:
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                assert (await ask(gateway.port, raw))[0] == 200
            await asyncio.sleep(0.05)
            kinds = Exchange, RelayedAnswer, PassedStream
            assert [thing for thing in gc.get_objects() if isinstance(thing, kinds)] == []
        finally:
            gc.enable()


async def _slow(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.2)
    writer.write(plain(b"{}"))


async def _say(port: int, raw: bytes, *, how: str) -> None:
    """Send bytes on a connection of its own, and end it in one of several ways."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if raw:
        writer.write(raw)
    if how == "half closed":
        writer.write_eof()
    if how == "left":
        await asyncio.sleep(0.05)
    elif how != "closed":
        async with asyncio.timeout(10):
            await (reader.read() if how == "half closed" else reader.readuntil(b"\r\n\r\n"))
    if how == "reset":
        writer.transport.abort()
    writer.close()


_GZIPPED = request(gzip.compress(b'{"model":"m"}'), headers=b"content-encoding: gzip\r\n")
_UPGRADE = b"GET %s HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: %s\r\nsec-websocket-version: 13\r\n%s\r\n"


@pytest.mark.parametrize("how", ["answered", "closed", "left", "reset", "half closed"])
@pytest.mark.parametrize(
    "raw",
    [
        request(),
        request() * 3,
        request()[:-3],
        b"",
        b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n",
        b"nonsense\r\n\r\n",
        request(b"x" * 100, path="/v1/embeddings"),
        _GZIPPED,
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(headers=b"connection: upgrade\r\nupgrade: h2c\r\n"),
        _UPGRADE % (b"/v1/realtime?model=m", b"websocket", b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"),
    ],
    ids=["request", "three", "part", "nothing", "page", "nonsense", "no JSON", "gzip", "HTTP/1.0", "h2c", "WebSocket"],
)
async def test_a_connection_is_freed_at_once(raw: bytes, how: str) -> None:
    """With the search for cycles off, nothing of ten connections is left once they are closed."""
    if how in {"answered", "reset"} and (not raw or raw == request()[:-3]):
        pytest.skip("there is no answer")
    async with ScriptedReplica(_slow) as replica, running_gateway([replica.port]) as gateway:
        gc.collect()
        gc.disable()
        try:
            await asyncio.gather(*[_say(gateway.port, raw, how=how) for _ in range(10)])
            await until(lambda: not len(gateway._connections), within_s=8)
            await asyncio.sleep(0.3)
            kinds = ClientConnection, RequestParser, HttpRequestParser, Exchange, Decoding, HalfClosed
            left = [thing for thing in gc.get_objects() if isinstance(thing, kinds)]
            assert [thing for thing in left if thing is not request_parser._CLOSED] == []
        finally:
            gc.enable()
