"""Errors reach each API's clients in the shape that they look for, in refusals and within streams."""

import asyncio
import json
from typing import Any

import pytest

from cluster.spec.model_spec import ModelSpec
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import NOT_HELD, ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, Script, ScriptedReplica

MESSAGES, RESPONSES, CHAT = "/v1/messages", "/v1/responses", "/v1/chat/completions"
CLOSING = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
STREAM = b'{"model":"m","stream":true,"max_tokens":9,"messages":[]}'


def _event(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def _dying(*texts: bytes, head: bytes = SSE_HEAD, framed: bool = True) -> Script:
    """Return a script that sends texts, each as a chunk, and closes within the stream."""

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for text in texts:
            writer.write(chunk(text) if framed else text)
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.close()

    return script


async def _silent(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE_HEAD + chunk(_event("message_start", message={})))
    await writer.drain()
    await asyncio.sleep(30)


def _last(body: bytes) -> tuple[list[bytes], dict[str, Any]]:
    lines = body.strip().split(b"\n\n")[-1].split(b"\n")
    return lines[:-1], json.loads(lines[-1].removeprefix(b"data: "))


async def test_a_stream_of_messages_that_breaks_ends_with_anthropics_event() -> None:
    """Its client would take half an answer for the whole one if it got OpenAI's event."""
    start, delta = _event("message_start", message={}), _event("content_block_delta", delta={"text": "Pay"})
    async with ScriptedReplica(_dying(start, delta)) as replica, running_gateway([replica.port]) as gateway:
        status, headers, body = await ask(gateway.port, request(STREAM, path=MESSAGES))
        assert (status, body[: len(start + delta)]) == (200, start + delta)
        names, data = _last(body)
        assert names == [b"event: error"]
        assert (data["type"], data["error"]["type"]) == ("error", "api_error")
        assert data["request_id"] == headers["x-request-id"]
        assert b"message_stop" not in body


async def test_a_stream_of_responses_that_breaks_ends_with_its_event() -> None:
    """It has the next number in the stream's sequence."""
    texts = [_event("response.created", sequence_number=0), _event("response.in_progress", sequence_number=1)]
    async with ScriptedReplica(_dying(*texts)) as replica, running_gateway([replica.port]) as gateway:
        _, _, body = await ask(gateway.port, request(b'{"model":"m","stream":true,"input":"x"}', path=RESPONSES))
        names, data = _last(body)
        assert names == [b"event: error"]
        assert (data["type"], data["code"], data["sequence_number"]) == ("error", "replica_failed", 2)


@pytest.mark.parametrize("path", [MESSAGES, CHAT])
@pytest.mark.parametrize("texts", [(b'data: {"choi',), (b"data: 1\n", b"\ndata: 2"), (b"event: message_start\n",)])
async def test_a_stream_that_breaks_within_an_event_is_cut(path: str, texts: tuple[bytes, ...]) -> None:
    """Nothing can follow half an event: the connection ends without the stream's end."""
    body = STREAM.replace(b'"max_tokens":9,', b"")
    async with ScriptedReplica(_dying(*texts)) as replica, running_gateway([replica.port]) as gateway:
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(gateway.port, request(body, path=path))


@pytest.mark.parametrize(
    ("path", "end"),
    [
        (MESSAGES, b'data: {"type":"message_stop"}'),
        (CHAT, b"data: [DONE]"),
        (RESPONSES, b'data: {"type":"response.failed"}'),
    ],
)
async def test_a_stream_without_chunks_that_breaks_has_its_event(path: str, end: bytes) -> None:
    """A stream that ends with its connection, and without its API's end, is ended by the error event."""
    for texts, is_whole in (((b"data: 1\n\n",), False), ((b"data: 1\n\n", end + b"\n\n"), True)):
        script = _dying(*texts, head=CLOSING, framed=False)
        async with ScriptedReplica(script) as replica, running_gateway([replica.port]) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request(STREAM, path=path))
            body = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            assert (b"error" in body) is not is_whole


async def test_sound_that_breaks_is_cut() -> None:
    """An answer that is no stream of events gets no event."""
    head = SSE_HEAD.replace(b"text/event-stream; charset=utf-8", b"audio/wav")
    path = "/v1/audio/speech"
    async with (
        ScriptedReplica(_dying(b"RIFF", head=head)) as replica,
        running_gateway([replica.port], api_paths=[path]) as gateway,
    ):
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(gateway.port, request(STREAM, path=path))


async def test_a_silent_replica_is_told_of_in_the_stream() -> None:
    """A timeout within a stream has the type that Anthropic gives to timeouts."""
    model = ModelSpec(name="m", engine="sim", policy="round_robin", request_timeout_s=0.3)
    async with ScriptedReplica(_silent) as replica, running_gateway([replica.port], models=[model]) as gateway:
        _, _, body = await ask(gateway.port, request(STREAM, path=MESSAGES))
        assert _last(body)[1]["error"]["type"] == "timeout_error"
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["replica_timeout"]


@pytest.mark.parametrize(("path", "name"), [(MESSAGES, b"event: error"), (RESPONSES, b"event: error"), (CHAT, None)])
async def test_a_gateway_that_stops_says_so_in_the_stream(path: str, name: bytes | None) -> None:
    """What a stopping gateway cannot wait for ends with an error event, not with silence."""
    begun = asyncio.Event()

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await _silent(received, writer)

    async with ScriptedReplica(script) as replica, running_gateway([replica.port]) as gateway:
        asked = asyncio.create_task(ask(gateway.port, request(STREAM, path=path)))
        await asyncio.wait_for(begun.wait(), 5)
        await gateway.stop(0.3)
        names, data = _last((await asked)[2])
        assert names == ([name] if name else [])
        assert "stopped" in json.dumps(data)


@pytest.mark.parametrize(
    "path", [MESSAGES, "/v1/messages/count_tokens", "//v1%2Fmessages?beta=true", "http://t/v1/messages"]
)
@pytest.mark.parametrize(
    ("raw", "status", "kind"),
    [
        (b"{", 400, "invalid_request_error"),
        (b'{"model":"other"}', 404, "not_found_error"),
        (b'{"model":"m"}', 503, "overloaded_error"),
        (b'{"model":"m","x":"' + b"x" * 5000 + b'"}', 413, "request_too_large"),
    ],
)
async def test_refusals_of_messages_have_anthropics_shape(path: str, raw: bytes, status: int, kind: str) -> None:
    """So do those that are made before the request is read to its end."""
    async with running_gateway([], models=[NOT_HELD], max_body_bytes=4096) as gateway:
        got, _, body = await ask(gateway.port, request(raw, path=path))
        answer = json.loads(body)
        assert (got, answer["type"], answer["error"]["type"]) == (status, "error", kind)


async def test_an_engine_that_gives_up_in_messages_is_passed_on() -> None:
    """An engine's own error event reaches the client as it said it, once."""

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        error = _event("error", error={"type": "internal_error", "message": "EngineCore died"})
        writer.write(SSE_HEAD + chunk(_event("message_start", message={})) + chunk(error) + LAST_CHUNK)

    async with ScriptedReplica(script) as replica, running_gateway([replica.port]) as gateway:
        _, _, body = await ask(gateway.port, request(STREAM, path=MESSAGES))
        assert body.count(b"event: error") == 1
        assert _last(body)[1]["error"]["message"] == "EngineCore died"


OPENAI = {"error": {"message": "max_tokens is too large", "type": "BadRequestError", "param": None, "code": 400}}
ANTHROPIC = {"type": "error", "error": {"type": "not_found_error", "message": "no such model"}}


FRAMINGS = ["length", "chunked", "close"]


def _refusing(status: int, body: bytes, *, head_first: bool, framing: str = "length") -> Script:
    """Return a script that refuses; the body comes with the head, or in two pieces after it."""
    how = {"length": b"content-length: %d\r\n" % len(body), "chunked": b"transfer-encoding: chunked\r\n", "close": b""}

    def framed(piece: bytes) -> bytes:
        return chunk(piece) if framing == "chunked" and piece else piece

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\nx-own: 1\r\n%s\r\n" % (status, how[framing])
        end = LAST_CHUNK if framing == "chunked" else b""
        writer.write(head + (b"" if head_first else framed(body) + end))
        if head_first:
            for piece in (framed(body[:9]), framed(body[9:]) + end):
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.write(piece)
        if framing == "close":
            writer.close()

    return script


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("head_first", [False, True])
@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (404, "not_found_error")])
@pytest.mark.parametrize("answer", [OPENAI, {"object": "error", **OPENAI["error"]}])
async def test_a_replicas_error_reaches_clients_of_messages_in_their_shape(
    status: int,
    kind: str,
    answer: dict[str, Any],
    framing: str,
    head_first: bool,  # noqa: FBT001 - parametrized
) -> None:
    """OpenAI's shape becomes Anthropic's, the status and other headers stay, and the connection can be used again."""
    script = _refusing(status, json.dumps(answer).encode(), head_first=head_first, framing=framing)
    async with ScriptedReplica(script) as replica, running_gateway([replica.port]) as gateway:
        for path in (MESSAGES, f"{MESSAGES}/count_tokens"):
            got, headers, body = await ask(gateway.port, request(b'{"model":"m","messages":[]}', path=path))
            error = json.loads(body)
            assert (got, headers["x-own"], error["type"]) == (status, "1", "error")
            assert error["error"] == {"type": kind, "message": OPENAI["error"]["message"]}
            assert error["request_id"] == headers["x-request-id"]
        if framing != "close":
            got, _, body = await ask(gateway.port, request(b'{"model":"m","messages":[]}', path=CHAT))
            assert (got, json.loads(body)) == (status, answer), "others get it as it is"


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("body", [json.dumps(ANTHROPIC).encode(), b"<html>no</html>", b'{"detail":"Not Found"}'])
async def test_errors_of_other_shapes_are_passed_on_as_they_are(body: bytes, framing: str) -> None:
    """An error that has Anthropic's shape keeps it; what is no error of OpenAI's is not touched."""
    script = _refusing(404, body, head_first=True, framing=framing)
    async with ScriptedReplica(script) as replica, running_gateway([replica.port]) as gateway:
        got = await ask(gateway.port, request(b'{"model":"m","messages":[]}', path=MESSAGES))
        assert (got[0], got[2]) == (404, body)


async def _read_to_the_end(port: int, raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("long", [False, True])
async def test_old_clients_of_messages_get_errors_they_can_read(framing: str, *, long: bool) -> None:
    """HTTP/1.0 has no chunks: a short error comes with its length, one too long to be held without framing."""
    error = {**OPENAI["error"], "message": "x" * 200_000 if long else "no"}
    body = json.dumps({"error": error}).encode()
    script = _refusing(400, body, head_first=True, framing=framing)
    raw = request(b'{"model":"m","messages":[]}', path=MESSAGES).replace(b"HTTP/1.1", b"HTTP/1.0")
    async with ScriptedReplica(script) as replica, running_gateway([replica.port]) as gateway:
        head, _, said = (await _read_to_the_end(gateway.port, raw)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 X\r\n")
        assert b"transfer-encoding" not in head
        if long:
            assert said == body
        else:
            assert json.loads(said)["error"] == {"type": "invalid_request_error", "message": "no"}
            assert b"content-length: %d\r\n" % len(said) in head


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_error_that_breaks_off_is_passed_on_as_far_as_it_came(framing: str) -> None:
    """Its client sees the status, and that the rest is missing."""
    how = b"content-length: 9000" if framing == "length" else b"transfer-encoding: chunked"
    part = b'{"error":{"message":"xxxx'

    async def breaks(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 X\r\n%s\r\n\r\n%s" % (how, b"2000\r\n" if framing == "chunked" else b""))
        writer.write(part)
        writer.close()

    async with ScriptedReplica(breaks) as replica, running_gateway([replica.port]) as gateway:
        said = await _read_to_the_end(gateway.port, request(b'{"model":"m","messages":[]}', path=MESSAGES))
        assert said.startswith(b"HTTP/1.1 400 X\r\n")
        assert said.endswith(b"xxxx")


async def test_errors_of_the_list_of_models_have_the_shape_that_its_header_asks_for() -> None:
    """With `anthropic-version` a model that does not exist is told in Anthropic's shape, without it in OpenAI's."""
    async with ScriptedReplica(_silent) as replica, running_gateway([replica.port]) as gateway:
        raw = b"GET /v1/models/none HTTP/1.1\r\nhost: t\r\n%s\r\n"
        status, _, body = await ask(gateway.port, raw % b"anthropic-version: 2023-06-01\r\n")
        assert (status, json.loads(body)["type"], json.loads(body)["error"]["type"]) == (
            404,
            "error",
            "not_found_error",
        )
        status, _, body = await ask(gateway.port, raw % b"")
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
