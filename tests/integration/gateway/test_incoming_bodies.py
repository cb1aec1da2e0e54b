"""Bodies on their way in: none of a stranger's, so many bytes of all, and none that takes for ever."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest

from router.http.gateway import Gateway
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway, until
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain
from tests.machine_speed import slowness

TENANTS = [{"name": "t", "key_sha256": sha256(b"k").hexdigest()}]
KEY = b"authorization: Bearer k\r\n"
MB = 1 << 20


def head(length: int, headers: bytes = b"", *, line: bytes = b"POST /v1/chat/completions") -> bytes:
    """Return the head of a request whose body is to follow."""
    kind = b"content-type: application/json\r\n"
    return b"%s HTTP/1.1\r\nhost: t\r\n%s%scontent-length: %d\r\n\r\n" % (line, kind, headers, length)


def incoming_bytes(gateway: Gateway) -> int:
    """Return what the gateway holds of bodies that are not complete."""
    return gateway._plane.incoming_bodies.total_bytes


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a port; the connection is closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()


async def _ok(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b"%d" % len(received.body)))


@pytest.mark.parametrize("expect", [b"", b"expect: 100-continue\r\n"], ids=["at once", "expecting 100"])
@pytest.mark.parametrize(
    ("line", "key", "status"),
    [
        (b"POST /v1/chat/completions", b"", 401),
        (b"POST /v1/chat/completions", b"authorization: Bearer wrong\r\n", 401),
        (b"POST /v1/responses/resp_1/cancel", b"", 401),
        (b"POST /openai/deployments/m/chat/completions", b"", 401),
        (b"POST /invocations", b"", 401),
        (b"POST /v1/files", KEY, 404),
        (b"PUT /v1/chat/completions", KEY, 405),
        (b"POST /sleep", KEY, 404),
        (b"POST /v1/../sleep", KEY, 400),
        (b"GET /health", b"", 200),
    ],
)
async def test_what_the_head_decides_is_answered_before_the_body(
    line: bytes, key: bytes, status: int, expect: bytes
) -> None:
    """Without `100 Continue` (RFC 9110, 10.1.1), and no byte of such a body is kept, however much is sent."""
    async with running_gateway([], tenants=TENANTS) as gateway, connected(gateway.port) as (reader, writer):
        writer.write(head(30 * MB, key + expect, line=line))
        got, headers, _ = await read_response(reader)
        assert (got, headers["connection"]) == (status, "close")
        writer.write(b"a" * MB)
        await writer.drain()
        assert incoming_bytes(gateway) == 0
        if status == 401:
            assert headers["www-authenticate"] == "Bearer"
            assert headers["x-request-id"]


async def test_a_strangers_body_is_not_kept_while_it_comes() -> None:
    """Part of it may come with the head; the refusal frees it, and the client can send on and read its answer."""
    async with running_gateway([], tenants=TENANTS) as gateway, connected(gateway.port) as (reader, writer):
        writer.write(head(20 * MB) + b"a" * 100_000)
        for _ in range(20):
            writer.write(b"a" * MB)
            await writer.drain()
            assert incoming_bytes(gateway) == 0
        assert (await read_response(reader))[0] == 401


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations", "/openai/deployments/m/chat/completions"])
async def test_a_tenants_body_is_awaited(path: str) -> None:
    """With a key a body may come in pieces, after `100 Continue` where that is asked for."""
    body = b'{"model":"m","messages":[],"x":"%s"}' % (b"x" * 300_000)
    raw = request(body, path=path, headers=KEY + b"expect: 100-continue\r\n")
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], tenants=TENANTS) as gateway,
        connected(gateway.port) as (reader, writer),
    ):
        writer.write(raw[: -len(body)])
        assert (await read_response(reader))[0] == 100
        for start in range(0, len(body), 100_000):
            writer.write(body[start : start + 100_000])
            await writer.drain()
            await asyncio.sleep(0.02)
        assert (await read_response(reader))[0] == 200
        assert replica.received[-1].body == body
        assert incoming_bytes(gateway) == 0


async def test_bodies_together_are_bounded() -> None:
    """Where all that are coming in are too long, the longest is refused with 503 and the others go on."""
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], max_incoming_bytes=3 * MB, max_body_bytes=3 * MB) as gateway,
    ):
        async with connected(gateway.port) as long, connected(gateway.port) as short:
            long[1].write(head(3 * MB) + b'"' + b"a" * 2 * MB)
            await until(lambda: incoming_bytes(gateway) > 1.9 * MB)
            body = b'{"model":"m","x":"%s"}' % (b"x" * (3 * MB // 2))
            for start in range(0, len(body), 100_000):
                short[1].write((head(len(body)) if not start else b"") + body[start : start + 100_000])
                await short[1].drain()
                assert incoming_bytes(gateway) <= 3 * MB
            assert (await read_response(short[0]))[0] == 200
            status, headers, said = await read_response(long[0])
            assert (status, json.loads(said)["error"]["code"], headers["retry-after"]) == (503, "overloaded", "1")
        await until(lambda: not incoming_bytes(gateway))


async def test_a_body_that_grows_while_it_is_decoded_counts() -> None:
    """A few kilobytes that become megabytes are bounded as if they had come so."""
    bomb = request(gzip.compress(b" " * (5 * MB // 2)), headers=b"content-encoding: gzip\r\n")
    async with (
        running_gateway([], max_incoming_bytes=3 * MB, max_body_bytes=3 * MB) as gateway,
        connected(gateway.port) as (reader, writer),
    ):
        writer.write(head(3 * MB) + b"a" * (2 * MB))
        await until(lambda: incoming_bytes(gateway) > 1.9 * MB)
        assert (await ask(gateway.port, bomb))[0] == 400
        assert (await read_response(reader))[0] == 503
        assert incoming_bytes(gateway) == 0


async def test_nothing_is_counted_of_those_who_left() -> None:
    """Closed, reset, or left while an earlier request of theirs runs: what they had sent is free again."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        for before in (b"", request()):
            async with connected(gateway.port) as (_, writer):
                writer.write(before + head(MB) + b"a" * 50_000)
                await until(lambda: incoming_bytes(gateway) > 0)
            await until(lambda: not incoming_bytes(gateway))


async def test_a_body_that_drips_is_given_up() -> None:
    """A byte now and then is no progress: 408 after the time that a head has, whatever the pause between two bytes."""
    for framing in (head(MB), b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"):
        async with running_gateway([], header_timeout_s=1.0) as gateway, connected(gateway.port) as (reader, writer):
            writer.write(framing)
            answer = asyncio.ensure_future(read_response(reader))
            sent = 0
            while not answer.done():
                writer.write(b"a" if b"chunked" not in framing else b"1\r\na\r\n")
                sent += 1
                await asyncio.sleep(0.1)
            status, _, said = await answer
            assert (status, json.loads(said)["error"]["code"]) == (408, "header_timeout")
            assert "bytes a second" in json.loads(said)["error"]["message"]
            assert sent < 60
            await until(lambda: not incoming_bytes(gateway))


async def test_a_slow_body_that_makes_progress_is_taken() -> None:
    """One that brings its bytes a second may take several times as long as a head, in pieces of any size."""
    body = b'{"model":"m","x":"%s"}' % (b"x" * 6000)
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], header_timeout_s=1.0, min_body_bytes_per_s=500) as gateway,
        connected(gateway.port) as (reader, writer),
    ):
        writer.write(head(len(body)))
        for start in range(0, len(body), 150):
            writer.write(body[start : start + 150])
            await asyncio.sleep(0.1)
        assert (await read_response(reader))[0] == 200
        assert replica.received[-1].body == body


async def test_a_trailer_that_drips_is_given_up() -> None:
    """After the last chunk the body makes no progress any more."""
    async with running_gateway([], header_timeout_s=1.0) as gateway, connected(gateway.port) as (reader, writer):
        writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
        answer = asyncio.ensure_future(read_response(reader))
        while not answer.done():
            writer.write(b"a: b\r\n")
            await asyncio.sleep(0.1)
        assert (await answer)[0] == 408


async def test_many_requests_in_one_read_are_answered_in_order() -> None:
    """They are answered some at a time, so that others get their turn, and none is lost."""
    count = 3000
    raw = b"".join(b"GET /v1/models/m%d HTTP/1.1\r\nhost: t\r\n\r\n" % number for number in range(count))
    async with running_gateway([]) as gateway, connected(gateway.port) as (reader, writer):
        writer.write(raw)
        await asyncio.sleep(0.01)
        asked_s = time.monotonic()
        assert (await ask(gateway.port, b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"))[0] == 200
        assert time.monotonic() - asked_s < 0.2 * slowness()
        writer.write(raw)
        for number in (*range(count), *range(count)):
            status, _, said = await read_response(reader)
            assert status == 404
            assert f"'m{number}'" in json.loads(said)["error"]["message"]
