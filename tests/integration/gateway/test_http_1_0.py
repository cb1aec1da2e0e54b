"""Clients of HTTP/1.0 (older proxies, `ab`) get answers that they understand, as they come."""

import asyncio
import json

import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import NOT_HELD, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}]}'
KEEP = b"Connection: Keep-Alive\r\n"


def old(body: bytes = BODY, headers: bytes = b"") -> bytes:
    """Return a request of HTTP/1.0."""
    return request(body, headers=headers).replace(b"HTTP/1.1", b"HTTP/1.0")


async def _until_close(port: int, raw: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Send raw bytes; return the status line, the header lines and the body, which the connection's end ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(5):
        head, body = (await reader.read()).split(b"\r\n\r\n", 1)
    writer.close()
    status, *lines = head.split(b"\r\n")
    return status, lines, body


def _event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "created": 1, "choices": [choice]}).encode() + b"\n\n"


async def test_a_stream_comes_live_and_without_chunks() -> None:
    """Each event when the replica sends it, nothing around it, and the connection's end after the last."""
    step = asyncio.Event()

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD.replace(b"content-type", b"X-Odd: Kept\r\nContent-Type"))
        for number in range(3):
            framed = chunk(_event(f"w{number}"))
            writer.write(framed[:7])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.write(framed[7:])
            await writer.drain()
            await step.wait()
            step.clear()
        writer.write(b"0\r\nx-trailer: 1\r\n\r\n")

    async with ScriptedReplica(stream) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(old(headers=KEEP))
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert lines[0] == b"HTTP/1.1 200 OK"
            assert {b"X-Odd: Kept", b"connection: close", b"x-accel-buffering: no"} <= set(lines)
            assert not any(line.lower().startswith((b"transfer-encoding", b"content-length")) for line in lines)
            for number in range(3):
                assert await reader.readuntil(b"\n\n") == _event(f"w{number}")
                step.set()
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("headers", [b"", KEEP])
async def test_an_answer_with_a_length_keeps_the_connection_where_it_was_asked_for(headers: bytes) -> None:
    """It is announced, which HTTP/1.0 needs, and then true; a page and a refusal do as well as a replica's answer."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b'"fine"'))

    raws = [
        (old(headers=headers), b'"fine"'),
        (b"GET /health HTTP/1.0\r\n%s\r\n" % headers, b'{"status":"ok"}'),
        (old(b'{"model":"none"}', headers), b"model_not_found"),
    ]
    async with ScriptedReplica(answer) as replica, running_gateway([replica.port]) as gateway:
        if not headers:
            for raw, says in raws:
                _, lines, body = await _until_close(gateway.port, raw)
                assert b"connection: close" in lines
                assert says in body
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        async with asyncio.timeout(5):
            for raw, says in raws * 2:
                writer.write(raw)
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"connection: keep-alive\r\n" in head
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                assert says in await reader.readexactly(length)
        writer.close()


async def test_a_refusal_that_the_dispatcher_makes_keeps_the_connection_too() -> None:
    """503 with a length is an answer like any other."""
    async with running_gateway([], models=[NOT_HELD]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(old(headers=KEEP))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"connection: keep-alive\r\n" in head
        writer.close()


async def test_a_stream_that_another_replica_continues_has_no_chunks_either() -> None:
    """The events of both, and the end that the gateway adds."""

    async def speak(received: Received, writer: asyncio.StreamWriter) -> None:
        is_first = json.loads(received.body)["messages"][-1]["role"] == "user"
        writer.write(SSE_HEAD + chunk(_event("one " if is_first else "two")))
        await writer.drain()
        await asyncio.sleep(0.05)
        if is_first:
            writer.close()
        else:
            writer.write(chunk(_event("", "stop")) + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    async with (
        ScriptedReplica(speak) as one,
        ScriptedReplica(speak) as two,
        running_gateway([one.port, two.port]) as gateway,
    ):
        _, _, body = await _until_close(gateway.port, old())
        *events, done, rest = body.split(b"\n\n")
        assert (done, rest) == (b"data: [DONE]", b"")
        said = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"]["content"] for event in events]
        assert said == ["one ", "two", ""]


async def test_half_an_answer_does_not_look_like_a_whole_one() -> None:
    """Where the end of the connection ends an answer, a broken one ends with a reset, a stream with an error."""

    async def breaks(received: Received, writer: asyncio.StreamWriter) -> None:
        if b"stream" in received.body:
            writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        elif b"chunked" in received.body:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"half"))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 80000\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    for body in (b'{"model":"m","x":"chunked"}', b'{"model":"m"}'):
        async with ScriptedReplica(breaks) as replica, running_gateway([replica.port]) as gateway:
            with pytest.raises(ConnectionResetError):
                await _until_close(gateway.port, old(body))
    async with ScriptedReplica(breaks) as replica, running_gateway([replica.port]) as gateway:
        assert b"replica_failed" in (await _until_close(gateway.port, old(b'{"model":"m","stream":true}')))[2]


async def test_an_answer_to_head_has_no_body() -> None:
    """A page's, and a refusal's."""
    async with running_gateway([]) as gateway:
        for path, status in ((b"/health", b"HTTP/1.1 200 OK"), (b"/none", b"HTTP/1.1 404 Not Found")):
            first, _, body = await _until_close(gateway.port, b"HEAD %s HTTP/1.0\r\n\r\n" % path)
            assert (first, body) == (status, b"")


async def test_waiting_for_100_continue_is_no_matter_of_http_1_0() -> None:
    """It gets the answer alone."""

    async def answer(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(received.body))

    async with ScriptedReplica(answer) as replica, running_gateway([replica.port]) as gateway:
        status, _, body = await _until_close(gateway.port, old(headers=b"Expect: 100-continue\r\n"))
        assert (status, body) == (b"HTTP/1.1 200 OK", BODY)
