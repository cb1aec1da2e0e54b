"""A client of a streamed request that waits long gets comments, and then the stream or an error event."""

import asyncio
import json

import pytest

from router.http.exchange.early_answer import COMMENT
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import NOT_HELD, ask, read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, Script, ScriptedReplica, plain

STREAM = b'{"model":"m","stream":true,"messages":[]}'
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: [DONE]\n\n'
EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
EVERY_S = 0.25
SLOW_S = 3 * EVERY_S
"""Seconds for which the replicas here say nothing."""


def slow(answer: bytes, *, closes: bool = False) -> Script:
    """Return a script that answers after some heartbeats."""

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(SLOW_S)
        writer.write(answer)
        if closes:
            writer.close()

    return script


async def _heard(script: Script, *, path: str = "/v1/chat/completions") -> tuple[dict[str, str], bytes, str]:
    """Ask for a stream; returns headers, body without its leading comments, and the outcome."""
    async with ScriptedReplica(script) as replica, running_gateway([replica.port], heartbeat_s=EVERY_S) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        try:
            writer.write(request(STREAM, path=path))
            async with asyncio.timeout(10):
                status, headers, body = await read_response(reader)
            writer.write(b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n")  # the connection can be used again
            assert (await read_response(reader))[0] == 200
        finally:
            writer.close()
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        assert body.startswith(COMMENT)
        outcome = gateway.state()["outcomes"][0]["outcome"]
        return headers, body.replace(COMMENT, b""), outcome


FRAMINGS = {
    "chunked": (SSE_HEAD + chunk(EVENTS[:20]) + chunk(EVENTS[20:]) + LAST_CHUNK, False),
    "a length": (EVENT_STREAM + b"content-length: %d\r\n\r\n%s" % (len(EVENTS), EVENTS), False),
    "its end": (EVENT_STREAM + b"\r\n" + EVENTS, True),
    "nothing": (EVENT_STREAM + b"content-length: 0\r\n\r\n", False),
}


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_the_stream_follows_in_whatever_framing_it_comes(framing: str) -> None:
    """After the comments the replica's events stand whole, and the answer ends properly."""
    answer, closes = FRAMINGS[framing]
    headers, body, outcome = await _heard(slow(answer, closes=closes))
    assert body == (b"" if framing == "nothing" else EVENTS)
    assert headers["x-accel-buffering"] == "no"
    assert "x-request-id" in headers
    assert outcome == "ok"


async def test_comments_come_between_head_and_first_event_too() -> None:
    """Engines send their head at once and the first token later: that wait is told as well."""

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        await writer.drain()
        await asyncio.sleep(SLOW_S)
        writer.write(chunk(EVENTS) + LAST_CHUNK)

    _, body, outcome = await _heard(script)
    assert (body, outcome) == (EVENTS, "ok")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (plain(b'{"error":{"message":"too long","code":400}}').replace(b"200 OK", b"400 Bad Request"), "too long"),
        (b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"bad wish") + LAST_CHUNK, "bad wish"),
        (plain(b'{"choices":[]}'), "in place of a stream"),
    ],
)
async def test_an_answer_that_is_no_stream_becomes_an_error_event(answer: bytes, message: str) -> None:
    """The status cannot be told any more, but what was wrong can."""
    _, body, _ = await _heard(slow(answer))
    event = json.loads(body.removeprefix(b"data: "))
    assert message in event["error"]["message"]
    assert body.count(b"data:") == 1


@pytest.mark.parametrize(
    ("path", "answer", "wanted"),
    [
        (
            "/v1/messages",
            b'{"type":"error","error":{"type":"invalid_request_error","message":"bad"}}',
            b'event: error\ndata: {"type":"error","error":{"type":"invalid_request_error","message":"bad"}}\n\n',
        ),
        (
            "/v1/responses",
            b'{"error":{"message":"bad","type":"x","param":"p","code":400}}',
            b'event: error\ndata: {"type":"error","code":400,"message":"bad","param":"p","sequence_number":0}\n\n',
        ),
        (
            "/v1/completions",
            b'{"error":{"message":"bad","code":400}}',
            b'data: {"error":{"message":"bad","code":400}}\n\n',
        ),
    ],
)
async def test_error_events_have_the_shape_of_their_api(path: str, answer: bytes, wanted: bytes) -> None:
    """A replica's own error is told as that API's streams tell errors, so that its SDK raises it."""
    _, body, outcome = await _heard(slow(plain(answer).replace(b"200 OK", b"400 Bad Request")), path=path)
    assert body == wanted
    assert outcome == "upstream_status"


async def test_a_replica_that_breaks_off_becomes_an_error_event() -> None:
    """What the gateway would refuse with a status is told in the stream."""
    _, body, outcome = await _heard(slow(b"", closes=True))
    assert json.loads(body.removeprefix(b"data: "))["error"]["code"] == "replica_failed" == outcome


async def test_requests_in_the_queue_are_told_too() -> None:
    """A request that no replica takes in time gets comments, then the refusal as an event."""
    model = NOT_HELD.model_copy(update={"cold_start_timeout_s": 2 * EVERY_S + 0.1})
    async with running_gateway([], models=[model], heartbeat_s=EVERY_S) as gateway:
        status, _, body = await ask(gateway.port, request(STREAM))
        assert status == 200
        assert body.startswith(COMMENT)
        assert b'"no_capacity"' in body
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["no_capacity"]
        waited = b'{"model":"m","messages":[]}'
        assert (await ask(gateway.port, request(waited)))[0] == 503, "not streamed: a status can be told"


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_clients_of_http_1_0_hear_them_without_chunks(framing: str) -> None:
    """Comments and events come as they are, and the connection's end is the stream's."""
    answer, closes = FRAMINGS[framing]
    script = slow(answer, closes=closes)
    async with ScriptedReplica(script) as replica, running_gateway([replica.port], heartbeat_s=EVERY_S) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert b"transfer-encoding" not in head.lower()
        assert body.startswith(COMMENT)
        assert body.replace(COMMENT, b"") == (b"" if framing == "nothing" else EVENTS)


@pytest.mark.parametrize("every_s", [0.0, 30.0])
async def test_quick_answers_and_gateways_without_heartbeats_begin_with_the_replicas_head(every_s: float) -> None:
    """A replica's status is passed on as it is while no comment was sent."""
    bad = plain(b"{}").replace(b"200 OK", b"418 Teapot")
    async with ScriptedReplica(slow(bad)) as replica, running_gateway([replica.port], heartbeat_s=every_s) as gateway:
        assert (await ask(gateway.port, request(STREAM)))[0] == 418
