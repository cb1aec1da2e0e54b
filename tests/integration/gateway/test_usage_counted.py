"""Tokens are counted, and limits settled, by what answers say, whatever their API, size and framing."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterable

import pytest

from cluster.spec.model_spec import ModelSpec
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, Script, ScriptedReplica, plain

OF_CHAT = {"prompt_tokens": 2000, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1980}}
OF_MESSAGES = {"input_tokens": 20, "cache_read_input_tokens": 1980, "output_tokens": 5}
OF_RESPONSES = {"input_tokens": 2000, "input_tokens_details": {"cached_tokens": 1980}, "output_tokens": 5}
OF_COHERE = {"input_tokens": 5, "image_tokens": 3}
LONG = [0.125] * 100_000
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


def _script(answer: bytes) -> Script:
    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return script


def _stream(events: Iterable[dict[str, object]]) -> bytes:
    framed = [chunk(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()) for event in events]
    return SSE_HEAD + b"".join(framed) + LAST_CHUNK


FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'


def _request(path: str, body: bytes) -> bytes:
    if not path.startswith("/v1/audio"):
        return request(body, path=path)
    return request(FORM, path=path).replace(b"application/json", b"multipart/form-data; boundary=b")


async def _counted(path: str, answer: bytes, body: bytes = b'{"model":"m","messages":[]}') -> list[int]:
    async with ScriptedReplica(_script(answer)) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, _request(path, body)))[0] == 200
        (counts,) = gateway._plane.meters.tokens.values()
        return counts[:3]  # of prompts, of these cached, of answers


@pytest.mark.parametrize(
    ("path", "answer", "right"),
    [
        ("/v1/chat/completions", {"usage": OF_CHAT}, [2000, 1980, 5]),
        ("/v1/messages", {"usage": OF_MESSAGES}, [2000, 1980, 5]),
        ("/v1/responses", {"usage": OF_RESPONSES}, [2000, 1980, 5]),
        ("/v1/embeddings", {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, [8, 0, 0]),
        ("/v1/rerank", {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, [8, 0, 0]),
        ("/score", {"usage": {"prompt_tokens": 8, "total_tokens": 8, "completion_tokens": 0}}, [8, 0, 0]),
        ("/v1/audio/transcriptions", {"usage": {"type": "duration", "seconds": 3}}, [0, 0, 0]),
        ("/v1/audio/transcriptions", {"usage": {"type": "tokens", "input_tokens": 7, "output_tokens": 2}}, [7, 0, 2]),
    ],
)
@pytest.mark.parametrize("long", ["before", "after", "both", "none"])
async def test_one_answer_has_one_meaning(path: str, answer: dict[str, object], right: list[int], long: str) -> None:
    """The same request counts the same in every API, beside long parts and in chunks."""
    parts = {
        "before": {"data": LONG, **answer},
        "after": {**answer, "data": LONG},
        "both": {"data": LONG, **answer, "more": LONG},
        "none": answer,
    }
    body = json.dumps(parts[long]).encode()
    framed = b"".join(chunk(body[at : at + 20_000]) for at in range(0, len(body), 20_000)) + LAST_CHUNK
    assert await _counted(path, plain(body)) == right
    assert await _counted(path, CHUNKED + framed) == right


@pytest.mark.parametrize("vectors", [[], LONG], ids=["short", "long"])
async def test_what_coheres_api_bills_is_its_usage(vectors: list[float]) -> None:
    """It says so in `meta`, behind the embeddings; tokens of images count as well."""
    meta = {"api_version": {"version": "2"}, "billed_units": OF_COHERE}
    body = json.dumps(
        {"embeddings": {"float": [vectors]}, "meta": meta, "response_type": "embeddings_by_type", "texts": [vectors]}
    ).encode()
    framed = b"".join(chunk(body[at : at + 20_000]) for at in range(0, len(body), 20_000)) + LAST_CHUNK
    assert await _counted("/v2/embed", plain(body)) == [8, 0, 0]
    assert await _counted("/v2/embed", CHUNKED + framed) == [8, 0, 0]


async def test_a_stream_of_messages_counts_as_the_chat_would() -> None:
    """Input is told at the start, output at the end."""
    delta: dict[str, object] = {"type": "content_block_delta", "delta": {"text": "x" * 200}}
    events: list[dict[str, object]] = [
        {"type": "message_start", "message": {"usage": {**OF_MESSAGES, "output_tokens": 1}}},
        *[delta] * 500,
        {"type": "message_delta", "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    assert await _counted("/v1/messages", _stream(events), b'{"model":"m","stream":true}') == [2000, 1980, 5]


async def test_a_stream_of_responses_counts_as_the_chat_would() -> None:
    """Its usage is in its last event, behind the whole answer."""
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.completed", "response": {"output": LONG, "usage": OF_RESPONSES, "user": None}},
    ]
    assert await _counted("/v1/responses", _stream(events), b'{"model":"m","stream":true}') == [2000, 1980, 5]


STREAMED = b'{"model":"m","stream":true,"messages":[]}'
OF_STREAM = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def _chat_event(delta: dict[str, object] | None, **more: object) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": None}] if delta is not None else []
    return b"data: %s\n\n" % json.dumps({"id": "c", "choices": choices, **more}).encode()


def _chat_stream(*events: bytes, mark: bytes = b"") -> bytes:
    framed = [chunk(event) for event in (mark + events[0], *events[1:], b"data: [DONE]\n\n")]
    return SSE_HEAD + b"".join(framed) + LAST_CHUNK


_PIECES = [_chat_event({"content": "word "}, usage=None)] * 4
_THOUGHTS = [_chat_event({"reasoning": "hm " * 50}, usage=None)] * 600
_CALLS = [_chat_event({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 150}}]}, usage=None)] * 600
"""No other replica can continue them, so only the end of such a stream is kept."""
_LONG_PART = ["x" * 100] * 300


@pytest.mark.parametrize(
    "answer",
    [
        _chat_stream(*_PIECES, _chat_event({}, x_groq={"id": "r", "usage": OF_STREAM})),
        _chat_stream(*_PIECES, _chat_event({}, usage=None, x_groq={"usage": OF_STREAM})),
        _chat_stream(*_PIECES, _chat_event(None, usage=OF_STREAM), mark=b"\xef\xbb\xbf"),
        _chat_stream(_chat_event({"role": "assistant"}, usage=OF_STREAM | {"completion_tokens": 0}), *_PIECES),
        _chat_stream(_chat_event({"role": "assistant"}, usage={"prompt_tokens": 9}), *_PIECES),
        _chat_stream(*_PIECES, _chat_event({"content": ""}, usage=OF_STREAM, prompt_logprobs=_LONG_PART)),
        _chat_stream(*_PIECES, _chat_event(None, a=_LONG_PART, usage=OF_STREAM, b=_LONG_PART)),
        _chat_stream(*_PIECES, _chat_event(None, usage=OF_STREAM), *_CALLS),
        _chat_stream(*_CALLS, _chat_event(None, usage=OF_STREAM)),
        _chat_stream(*_CALLS, _chat_event(None, usage=OF_STREAM), *_CALLS, _chat_event({}, usage=None)),
        _chat_stream(*_CALLS, b'data: {"usage":%s}\n\n' % json.dumps(OF_STREAM).encode()),
        _chat_stream(*_THOUGHTS, _chat_event(None, usage=OF_STREAM)),
    ],
    ids=[
        "x_groq", "x_groq beside null", "mark", "first event", "prompt alone", "before a long part",
        "between long parts", "before calls", "after calls", "between calls", "without choices", "after thoughts",
    ],
)  # fmt: skip
@pytest.mark.parametrize("asked", [b"", b',"stream_options":{"include_usage":true}'], ids=["", "asked"])
async def test_a_stream_is_counted_wherever_it_tells_its_usage(answer: bytes, asked: bytes) -> None:
    """Groq tells it in `x_groq`, others at the start or between long parts: it counts all the same."""
    body = STREAMED[:-1] + asked + b"}"
    assert await _counted("/v1/chat/completions", answer, body) == [9, 0, 4]


async def test_a_json_answer_may_begin_with_a_mark() -> None:
    """A byte order mark is passed on, and does not hide the usage."""
    assert await _counted("/v1/chat/completions", plain(b"\xef\xbb\xbf" + json.dumps({"usage": OF_CHAT}).encode())) == [
        2000, 1980, 5,
    ]  # fmt: skip


async def test_answers_are_asked_for_uncompressed() -> None:
    """What the gateway must read is not asked for in a coding that it cannot read; silence would allow any."""
    async with ScriptedReplica(_script(plain(b"{}"))) as replica, running_gateway([replica.port]) as gateway:
        await ask(gateway.port, request(headers=b"accept-encoding: gzip, br\r\n"))
        assert replica.received[0].header("accept-encoding") == "identity"


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_compressed_all_the_same_is_counted(coding: bytes, *, streamed: bool) -> None:
    """It is passed on as it came. What it says is read where it is not too long; else the estimate stands."""
    text = (
        b"".join([*_PIECES, _chat_event(None, usage=OF_STREAM)])
        if streamed
        else json.dumps({"usage": OF_STREAM}).encode()
    )
    packed = gzip.compress(text) if coding == b"gzip" else zlib.compress(text)
    head = SSE_HEAD if streamed else CHUNKED
    head = head.replace(b"\r\n\r\n", b"\r\ncontent-encoding: %s\r\n\r\n" % coding)
    counts = await _counted("/v1/chat/completions", head + chunk(packed) + LAST_CHUNK, STREAMED)
    assert counts == ([0, 0, 0] if coding == b"br" else [9, 0, 4])


async def test_a_compressed_stream_is_passed_on_as_it_comes() -> None:
    """A replica that compresses all the same is answered for byte by byte; nothing is written into its stream."""
    packed = gzip.compress(b"".join(_PIECES) * 50)
    head = SSE_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")

    async def breaks(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head + chunk(packed[:20]))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(chunk(packed[20:60]))
        writer.close()

    whole = head + chunk(packed[:20]) + chunk(packed[20:]) + LAST_CHUNK
    limit = STREAMED[:-1] + b',"max_tokens":9}'
    async with ScriptedReplica(_script(whole)) as replica, running_gateway([replica.port]) as gateway:
        status, headers, body = await ask(gateway.port, request(limit))
        assert (status, headers["content-encoding"], body) == (200, "gzip", packed)
    async with ScriptedReplica(breaks) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(limit))
        got = await reader.read()
        writer.close()
        assert got.endswith(chunk(packed[:20]) + chunk(packed[20:60]))


async def test_messages_teach_the_same_as_chats() -> None:
    """Bytes per token stay those of the text, and no more is hit than was asked for."""
    model = ModelSpec(name="m", engine="sim", policy="expected_ttft")
    text = "word " * 1600
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}).encode()
    learned = []
    for path, usage in (("/v1/chat/completions", OF_CHAT), ("/v1/messages", OF_MESSAGES)):
        script = _script(plain(json.dumps({"usage": usage}).encode()))
        async with ScriptedReplica(script) as replica, running_gateway([replica.port], models=[model]) as gateway:
            for _ in range(30):
                await ask(gateway.port, request(body, path=path))
            learned.append(gateway._plane.models.dispatchers()["m"].estimator.bytes_per_token)
    assert learned[0] == pytest.approx(learned[1], rel=0.01)
    assert learned[0] == pytest.approx(len(text) / 2000, rel=0.05)
