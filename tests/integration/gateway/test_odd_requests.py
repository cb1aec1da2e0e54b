"""Requests in every form that clients and proxies give them reach the replica as one plain request."""

import asyncio
import gzip
import itertools
import json
import zlib
from hashlib import sha256

import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

CHAT = "/v1/chat/completions"
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
BODY = b'{"model":"m","messages":[]}'


async def _echo(received: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(received.body))


@pytest.mark.parametrize("path", [CHAT, f"{CHAT}/", f"http://g.example{CHAT}", "//v1/%63hat%2Fcompletions", f"{CHAT}?"])
@pytest.mark.parametrize("headers", [b"", H2C, b"connection: upgrade\r\nupgrade: websocket\r\n"])
async def test_the_replica_gets_one_spelling(path: str, headers: bytes) -> None:
    """Target, body and headers are those of the plain request, however it came."""
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port]) as gateway:
        status, _, body = await ask(gateway.port, request(BODY, path=path, headers=headers))
        assert (status, body) == (200, BODY)
        (seen,) = replica.received
        assert seen.head.split(b"\r\n")[0].replace(b"? ", b" ") == b"POST /v1/chat/completions HTTP/1.1"
        assert not any(seen.header(name) for name in ("upgrade", "connection", "http2-settings"))


async def test_requests_behind_an_offer_to_upgrade_are_answered() -> None:
    """What stands behind such a request's body is the next request."""
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        bodies = [b'{"model":"m","n":%d}' % number for number in range(4)]
        writer.write(b"".join(request(body, headers=H2C) for body in bodies[:3]) + request(bodies[3]))
        async with asyncio.timeout(5):
            assert [(await read_response(reader))[2] for _ in bodies] == bodies
        writer.close()


async def test_lists_arrive_joined_and_two_traces_not_at_all() -> None:
    """Lines of one name are one list; a request with two `traceparent` headers has no trace."""
    headers = (
        b"accept: text/event-stream\r\nAccept: */*\r\nanthropic-beta: a\r\nanthropic-beta: b\r\n"
        b"traceparent: 00-a\r\ntraceparent: 00-b\r\ntracestate: x=1\r\ntracestate: y=2\r\n"
    )
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, request(headers=headers)))[0] == 200
        (seen,) = replica.received
        assert seen.header("accept") == "text/event-stream, */*"
        assert seen.header("anthropic-beta") == "a, b"
        assert seen.header("traceparent") is None
        assert seen.header("tracestate") == "x=1, y=2"


async def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    """What some editors write before JSON does not stand in the way; the rest arrives as it came."""
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, request(b"\xef\xbb\xbf" + BODY)))[2] == BODY


async def test_stream_in_quotes_is_passed_on() -> None:
    """What engines take for true is a stream here as well, and reaches them as it was written."""

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n") + LAST_CHUNK)

    body = b'{"model":"m","stream":"true"}'
    async with ScriptedReplica(stream) as replica, running_gateway([replica.port]) as gateway:
        status, headers, answer = await ask(gateway.port, request(body))
        assert (status, answer, replica.received[0].body) == (200, b"data: 1\n\n", body)
        assert headers["x-accel-buffering"] == "no"


async def test_a_trailer_gives_no_key() -> None:
    """What comes behind the body cannot say whose request it is."""
    trailer = b"authorization: Bearer right\r\n"
    raw = (
        b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"
        + chunk(BODY)
        + b"0\r\n"
        + trailer
    )
    tenants = [{"name": "a", "key_sha256": sha256(b"right").hexdigest()}]
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port], tenants=tenants) as gateway:
        assert (await ask(gateway.port, raw + b"\r\n"))[0] == 401
        assert not replica.received


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(BODY)),
        (b"x-gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
        (b"deflate", zlib.compress(BODY)),
        (b"identity", BODY),
        (b"gzip", gzip.compress(b"\xef\xbb\xbf" + BODY)),
    ],
    ids=itertools.count(),
)
async def test_compressed_bodies_arrive_plain(coding: bytes, packed: bytes) -> None:
    """Engines understand no coding, so the gateway decodes; the next request on the connection is as ever."""
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(packed, headers=b"content-encoding: %s\r\n" % coding) + request(b'{"model":"m","n":2}'))
        async with asyncio.timeout(5):
            assert (await read_response(reader))[2] == BODY
            assert (await read_response(reader))[2] == b'{"model":"m","n":2}'
        writer.close()
        assert replica.received[0].header("content-encoding") is None


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        (b"br", b"\x0b", 415, "unsupported_encoding"),
        (b"zstd", b"(\xb5/\xfd", 415, "unsupported_encoding"),
        (b"gzip, gzip", gzip.compress(gzip.compress(BODY)), 415, "unsupported_encoding"),
        (b"gzip", gzip.compress(b'{"model":"m","x":"%s"}' % (b"y" * 5000)), 413, "body_too_large"),
        (b"gzip", gzip.compress(BODY)[:-1], 400, "bad_request"),
        (b"gzip", BODY, 400, "bad_request"),
    ],
    ids=itertools.count(),  # compressed bytes hold the time, and each process would name the tests otherwise
)
async def test_bodies_that_cannot_be_decoded_are_refused(coding: bytes, body: bytes, status: int, code: str) -> None:
    """With the limit on what comes out, and a word on what would be right."""
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port], max_body_bytes=4096) as gateway:
        raw = request(body, headers=b"content-encoding: %s\r\n" % coding)
        got, headers, answer = await ask(gateway.port, raw)
        assert (got, json.loads(answer)["error"]["code"]) == (status, code)
        assert headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)
        assert not replica.received


async def test_a_body_that_grows_a_thousandfold_holds_up_nobody() -> None:
    """While it is decoded other clients are answered; what comes out is bounded."""
    bomb = gzip.compress(bytes(200_000_000), 9)
    async with running_gateway([], max_body_bytes=150_000_000) as gateway:
        bombed = asyncio.ensure_future(ask(gateway.port, request(bomb, headers=b"content-encoding: gzip\r\n")))
        health = 0
        while not bombed.done():
            assert (await ask(gateway.port, b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"))[0] == 200
            health += 1
        assert (await bombed)[0] == 413
        assert health > 5


async def test_blank_lines_between_requests_are_nothing() -> None:
    """Some clients end a body with a line end that its length does not count (RFC 9112, section 2.2)."""
    async with ScriptedReplica(_echo) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(2):
            writer.write(b"\r\n" + request(BODY) + b"\r\n\r\n" + request(BODY))
            async with asyncio.timeout(5):
                assert [(await read_response(reader))[2] for _ in range(2)] == [BODY, BODY]
        writer.close()


async def test_interim_answers_of_a_replica_are_skipped() -> None:
    """`100 Continue` and early hints, however many in one read, and cut anywhere."""

    async def chatty(_: Received, writer: asyncio.StreamWriter) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        framed = interim * 2000 + plain(b'"fine"')
        writer.write(framed[:50])
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(framed[50:])

    async with ScriptedReplica(chatty) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, request()))[2] == b'"fine"'


async def test_an_empty_line_between_two_answers_of_a_replica_is_skipped() -> None:
    """Some servers write one after a body; the next answer on the connection is read all the same."""
    async with (
        ScriptedReplica(lambda _, writer: _write(writer, b"\r\n" + plain(b'"fine"'))) as replica,
        running_gateway([replica.port]) as gateway,
    ):
        assert [(await ask(gateway.port, request()))[2] for _ in range(3)] == [b'"fine"'] * 3


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_replica_that_does_not_speak_http_fails_at_once(head: bytes) -> None:
    """Nobody waits for the timeout to learn that an answer makes no sense."""

    async def odd(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(20)

    async with ScriptedReplica(odd) as replica, running_gateway([replica.port]) as gateway:
        status, _, body = await ask(gateway.port, request())
        assert (status, json.loads(body)["error"]["code"]) == (502, "replica_failed")


async def test_a_redirect_leads_to_the_gateway() -> None:
    """A replica's address is nothing to a client, which gets the path alone."""

    async def redirect(received: Received, writer: asyncio.StreamWriter) -> None:
        to = b"http://%s/v1/other" % (received.header("host") or "").encode()
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n" % to)

    async with ScriptedReplica(redirect) as replica, running_gateway([replica.port]) as gateway:
        status, headers, _ = await ask(gateway.port, request())
        assert (status, headers["location"]) == (307, "/v1/other")
