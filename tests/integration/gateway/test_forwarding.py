"""Bytes go through the gateway as they should: requests built anew, answers untouched."""

import asyncio

import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import NOT_HELD, ask, read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain


async def _ok(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'{"got":%d}' % len(request.body)))


async def test_the_replicas_request_is_built_anew() -> None:
    """The body goes on as it came; of the headers only those meant for engines, beside the cluster's own."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], credential="inner") as gateway:
        body = b'{ "model" : "m", "odd": "\xc3\xa9" }'
        headers = (
            b"Authorization: Bearer outer\r\nTraceParent: 00-aa-bb-01\r\nx-evil: 1\r\nconnection: x-evil\r\n"
            b"accept: text/event-stream\r\nx-rackserve-gateway: forged\r\ncookie: c=1\r\nX-Request-Id: mine-1\r\n"
        )
        status, answer_headers, answer = await ask(gateway.port, request(body, path="/v1/score?y=1", headers=headers))
        seen = replica.received[0]
        assert (status, answer) == (200, b'{"got":%d}' % len(body))
        assert answer_headers["x-request-id"] == "mine-1"
        assert seen.body == body
        assert seen.head.startswith(b"POST /v1/score?y=1 HTTP/1.1\r\n")
        names = {line.split(b":")[0] for line in seen.head.split(b"\r\n")[1:]}
        assert names == {
            b"host",
            b"authorization",
            b"x-rackserve-gateway",
            b"x-request-id",
            b"content-type",
            b"accept",
            b"accept-encoding",
            b"traceparent",
            b"content-length",
        }
        assert seen.header("authorization") == "Bearer inner"
        assert seen.header("x-rackserve-gateway") == "gateway-under-test"
        assert seen.header("x-request-id") == "mine-1"


async def test_named_headers_are_passed_on() -> None:
    """Those of `forward_headers` reach the replica beside the usual ones, several lines of one name as one list."""
    names = ["X-Data-Parallel-Rank", "baggage", "accept"]
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port], forward_headers=names) as gateway:
        headers = b"x-data-parallel-rank: 3\r\nBaggage: a=1\r\nbaggage: b=2\r\nx-other: 1\r\naccept: a/b\r\n"
        assert (await ask(gateway.port, request(headers=headers)))[0] == 200
        seen = replica.received[0]
        assert seen.header("x-data-parallel-rank") == "3"
        assert seen.header("baggage") == "a=1, b=2"
        assert seen.header("accept") == "a/b"
        assert seen.header("x-other") is None


async def test_a_stream_passes_byte_by_byte() -> None:
    """Each event reaches the client when the replica sends it, not when the answer ends."""
    step = asyncio.Event()

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        for number in range(3):
            writer.write(chunk(b"data: %d\n\n" % number))
            await writer.drain()
            await step.wait()
            step.clear()
        writer.write(LAST_CHUNK)

    async with ScriptedReplica(stream) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        for number in range(3):
            async with asyncio.timeout(2):
                assert await reader.readexactly(14) == chunk(b"data: %d\n\n" % number)
            step.set()
        assert await reader.readexactly(5) == LAST_CHUNK
        writer.close()


async def test_characters_split_over_reads_arrive_whole() -> None:
    """A multi-byte character cut anywhere, in the middle of a chunk too, comes out as it went in."""
    text = "žluťoučký 🐎 " * 20

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        framed = SSE_HEAD + chunk(text.encode()) + LAST_CHUNK
        for start in range(0, len(framed), 7):
            writer.write(framed[start : start + 7])
            await writer.drain()
            await asyncio.sleep(0)

    async with ScriptedReplica(stream) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, request()))[2].decode() == text


async def test_connections_to_replicas_are_used_again() -> None:
    """Twenty requests on one client connection need one connection to the replica."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(20):
            writer.write(request())
            assert (await read_response(reader))[0] == 200
        writer.close()
        assert (len(replica.received), replica.connections) == (20, 1)


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are answered one after the other, in their order, each exactly once."""

    async def slow_first(received: Received, writer: asyncio.StreamWriter) -> None:
        if b'"n":0' in received.body:
            await asyncio.sleep(0.1)
        writer.write(plain(received.body))

    bodies = [b'{"model":"m","n":%d}' % number for number in range(50)]
    async with ScriptedReplica(slow_first) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"".join(map(request, bodies)))
        assert [(await read_response(reader))[2] for _ in bodies] == bodies
        writer.close()
        assert [seen.body for seen in replica.received] == bodies


async def test_thousands_of_pipelined_refusals_are_answered() -> None:
    """Answers that need no replica do not pile up on the stack."""
    async with running_gateway([], models=[NOT_HELD]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request() * 3000 + b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n")
        for _ in range(3000):
            assert (await read_response(reader))[0] == 503
        assert (await read_response(reader))[2] == b'{"status":"ok"}'
        writer.close()


async def test_a_request_may_come_in_any_pieces() -> None:
    """A request sent byte by byte, chunked, is the same request."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        raw = b"POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw += chunk(b'{"model":') + chunk(b'"m"}') + LAST_CHUNK
        for position in range(len(raw)):
            writer.write(raw[position : position + 1])
            await writer.drain()
        assert (await read_response(reader))[0] == 200
        assert replica.received[0].body == b'{"model":"m"}'
        assert replica.received[0].header("transfer-encoding") is None
        writer.close()


async def test_expect_100_continue() -> None:
    """The client is told to go on before it sends its body."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        raw = request(headers=b"expect: 100-continue\r\n")
        head, body = raw.split(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_response(reader))[0] == 200
        writer.close()


@pytest.mark.parametrize("before", [b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n", request()], ids=["page", "chat"])
async def test_expect_100_continue_behind_another_request(before: bytes) -> None:
    """Where both heads come in one read, the first request is answered, and then the client is told to go on."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head, body = request(headers=b"expect: 100-continue\r\n").split(b"\r\n\r\n")
        writer.write(before + head + b"\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await read_response(reader))[0] == 200
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await read_response(reader))[0] == 200
        writer.close()


async def test_connection_close_is_honoured() -> None:
    """A client that asks for the connection's end gets it, and is told."""
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(headers=b"connection: close\r\n"))
        _, headers, _ = await read_response(reader)
        assert headers["connection"] == "close"
        assert await reader.read() == b""
        writer.close()


async def test_an_answer_until_the_connections_end_is_complete() -> None:
    """A replica that ends its answer by closing (HTTP/1.0 style) is understood."""

    async def until_close(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nall of it")
        await writer.drain()
        writer.close()

    async with ScriptedReplica(until_close) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        assert (await reader.read()).endswith(b"connection: close\r\n\r\nall of it")
        writer.close()
        assert gateway.state()["outcomes"][0]["outcome"] == "ok"


@pytest.mark.parametrize("size", [100_000, 5_000_000])
async def test_large_bodies_both_ways(size: int) -> None:
    """Megabytes arrive complete in both directions."""

    async def echo(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(received.body))

    body = b'{"model":"m","x":"%s"}' % (b"y" * size)
    async with ScriptedReplica(echo) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, request(body)))[2] == body


async def test_a_slow_client_slows_the_replica_not_the_gateways_memory() -> None:
    """While the client does not read, the gateway stops reading from the replica; afterwards nothing is missing."""
    sent = 0

    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(SSE_HEAD)
        for _count in range(1000):
            writer.write(chunk(b"z" * 65536))
            sent += 65536
            await writer.drain()
        writer.write(LAST_CHUNK)

    async with ScriptedReplica(flood) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=65536)
        writer.write(request())
        await asyncio.sleep(1.0)
        assert sent < 40_000_000, "the replica could send everything to a client that reads nothing"
        status, _, body = await read_response(reader)
        assert (status, len(body)) == (200, 65_536_000)
        writer.close()


async def test_the_client_leaving_ends_the_replicas_work() -> None:
    """The connection to the replica closes within a second of the client's leaving; the reservation is given back."""

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        while not writer.is_closing():
            writer.write(chunk(b"data: x\n\n"))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with ScriptedReplica(endless) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        assert gateway.state()["models"]["m"]["replicas"][0]["in_flight"] == 1
        writer.close()
        async with asyncio.timeout(1):
            await replica.one_closed.wait()
        state = gateway.state()
        assert state["models"]["m"]["replicas"][0]["in_flight"] == 0
        assert [row["outcome"] for row in state["outcomes"]] == ["client_left"]
