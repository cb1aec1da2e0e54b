"""Of an answer, enough is kept to read its tokens, whatever its size and framing, in bounded memory."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from router.estimator.expectation import Usage
from router.http.api.answers.kept_answer import FOLD_BYTES, WINDOW, KeptAnswer
from router.http.wire.chunked import LAST_CHUNK, chunk

USAGE = {"prompt_tokens": 2000, "total_tokens": 2005, "completion_tokens": 5}
RIGHT = Usage(2000, None, 5)
VECTORS = [{"object": "embedding", "index": 0, "embedding": [0.25] * 60_000}] * 3


def _kept(reads: Iterable[bytes], *, chunked: bool = False, streamed: bool = False) -> KeptAnswer:
    answer = KeptAnswer(chunked=chunked, streamed=streamed)
    for read in reads:
        if streamed:
            answer.keep(read)
            answer.fold_if_long()
        else:
            answer.keep_bounded(read)
    return answer


def _reads(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("read_bytes", [65_536, 1_001])
@pytest.mark.parametrize("chunk_bytes", [0, 16_384, 300])
@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "short"}}], "usage": USAGE},
        {"object": "list", "data": VECTORS, "usage": USAGE},
        {"usage": USAGE, "object": "list", "data": VECTORS},
        {"choices": [{"logprobs": VECTORS}], "usage": USAGE, "prompt_logprobs": None, "kv_transfer_params": {"a": {}}},
        {"choices": [{"message": {"content": "short"}}], "usage": USAGE, "prompt_logprobs": VECTORS},
    ],
)
def test_usage_is_read_whatever_the_answers_size(body: dict[str, Any], chunk_bytes: int, read_bytes: int) -> None:
    """Usage before or behind a long part is read, with a length and in chunks, however reads cut it."""
    data = json.dumps(body).encode()
    if chunk_bytes:
        data = b"".join(chunk(piece) for piece in _reads(data, chunk_bytes)) + LAST_CHUNK
    assert _kept(_reads(data, read_bytes), chunked=bool(chunk_bytes)).usage() == RIGHT


@pytest.mark.parametrize("cut", [None, 70, 100, 120])
def test_a_line_within_an_event_that_looks_like_framing_is_text(cut: int | None) -> None:
    """An event with such a line in it is broken, in one chunk, in two and in none, and the one before it counts."""
    before = b'data: {"choices":[],"usage":{"output_tokens":4}}\n\n'
    broken = b'data: {"choices":[],"usage":{"prompt_tokens":5,"a\r\n3;a=b\r\nb":{}}}\n\n'
    data = before + broken + b"data: [DONE]\n\n"
    if cut is None:
        assert _kept([data], streamed=True).usage() == Usage(None, None, 4)
    framed = b"".join(chunk(piece) for piece in ((data[:cut], data[cut:]) if cut else (data,))) + LAST_CHUNK
    assert _kept([framed], chunked=True, streamed=True).usage() == Usage(None, None, 4)


@pytest.mark.parametrize("chunk_bytes", [0, 16_384, 301])
@pytest.mark.parametrize("read_bytes", [65_536, 9_001])
def test_usage_between_two_long_parts_is_read(chunk_bytes: int, read_bytes: int) -> None:
    """A usage in the middle of a long answer is read, nothing else is taken for it, and memory is bounded."""
    fake = {"input": {"usage": {"prompt_tokens": 7}}, "usage": {"prompt_tokens": 8}}
    body = {"content": [fake, 'a "usage": {"prompt_tokens": 9} \\', *VECTORS], "usage": USAGE, "more": [*VECTORS, fake]}
    data = json.dumps(body).encode()
    if chunk_bytes:
        data = b"".join(chunk(piece) for piece in _reads(data, chunk_bytes)) + LAST_CHUNK
    answer = _kept(_reads(data, read_bytes), chunked=bool(chunk_bytes))
    assert answer.usage() == RIGHT
    assert answer.whole() is None
    assert len(answer.tail()) <= FOLD_BYTES + 65_536
    del body["usage"]
    assert _kept(_reads(json.dumps(body).encode(), read_bytes)).usage() == Usage()


def test_a_byte_order_mark_is_no_part_of_an_answer() -> None:
    """Some servers write one before JSON; before a stream, the standard allows it."""
    mark = b"\xef\xbb\xbf"
    assert _kept([mark + json.dumps({"usage": USAGE}).encode()]).usage() == RIGHT
    assert _kept([mark + b"data: %s\n\n" % json.dumps({"usage": USAGE}).encode()], streamed=True).usage() == RIGHT
    assert _kept([b"\n\n  " + json.dumps({"usage": USAGE}).encode()]).usage() == RIGHT


def test_events_are_read_whatever_they_are_called() -> None:
    """A stream of events is one under another content type, too."""
    events = b'data: {"choices":[]}\n\ndata: %s\n\ndata: [DONE]\n\n' % json.dumps({"usage": USAGE}).encode()
    assert _kept([events]).usage() == RIGHT
    assert _kept([chunk(events) + LAST_CHUNK], chunked=True).usage() == RIGHT


def _event(name: str, **fields: object) -> bytes:
    return chunk(f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode())


def _messages(start: dict[str, int], last: dict[str, int], deltas: int) -> list[bytes]:
    delta = _event("content_block_delta", delta={"type": "text_delta", "text": 'say "usage": {"output_tokens": 7}'})
    return [
        _event("message_start", message={"id": "m", "usage": start}),
        _event("content_block_start", content_block={"type": "tool_use", "input": {"usage": {"input_tokens": 9}}}),
        *[delta] * deltas,
        _event("message_delta", delta={"stop_reason": "end_turn"}, usage=last),
        _event("message_stop"),
        LAST_CHUNK,
    ]


@pytest.mark.parametrize("deltas", [3, 2_000])
@pytest.mark.parametrize(
    ("start", "last"),
    [
        ({"input_tokens": 20, "cache_read_input_tokens": 1980, "output_tokens": 1}, {"output_tokens": 5}),
        (
            {"input_tokens": 2000, "output_tokens": 0},
            {"input_tokens": 20, "cache_read_input_tokens": 1980, "output_tokens": 5},
        ),
        (
            {"input_tokens": 20, "cache_read_input_tokens": 1980, "output_tokens": 0},
            {"input_tokens": 20, "output_tokens": 5},
        ),
        (
            {"input_tokens": 20, "cache_read_input_tokens": 1980, "output_tokens": 0},
            {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5},
        ),
    ],
)
def test_a_stream_of_messages_is_counted(start: dict[str, int], last: dict[str, int], deltas: int) -> None:
    """Its tokens are read where Anthropic and where vLLM tell them: in its first event, in its last, or in both."""
    assert _kept(_messages(start, last, deltas), chunked=True, streamed=True).usage() == Usage(2000, 1980, 5)


@pytest.mark.parametrize("text", ["short", "long " * 40_000])
def test_a_stream_of_responses_is_counted(text: str) -> None:
    """Its last event holds the whole answer, which may be longer than what is kept."""
    usage = {"input_tokens": 2000, "input_tokens_details": {"cached_tokens": 1980}, "output_tokens": 5}
    tools = [{"name": "count", "parameters": {"properties": {"usage": {"type": "object"}}}}]
    reads = [
        _event("response.created", response={"usage": None, "tools": tools}, sequence_number=0),
        _event("response.output_text.delta", delta=text, sequence_number=1),
        _event("response.completed", response={"output": text, "tools": tools, "usage": usage, "user": None}),
        LAST_CHUNK,
    ]
    assert _kept(reads, chunked=True, streamed=True).usage() == Usage(2000, 1980, 5)


@pytest.mark.parametrize("chunk_bytes", [0, 300, 16_384])
@pytest.mark.parametrize("long", ["before", "after", "both"])
def test_usage_in_a_long_event_is_read(long: str, chunk_bytes: int) -> None:
    """The last event of a response holds all of it: its usage may stand anywhere, and long parts on both sides."""
    usage = {"input_tokens": 2000, "input_tokens_details": {"cached_tokens": 1980}, "output_tokens": 5}
    fakes = [{"arguments": {"usage": {"input_tokens": 1}}}, 'say "usage": {"input_tokens": 2}, '] * 4_000
    before = {"output": fakes} if long != "after" else {}
    after = {"input_messages": fakes} if long != "before" else {}
    last = {"type": "response.completed", "response": {**before, "usage": usage, **after}}
    stream = b'data: {"response":{"usage":null}}\n\n' + b"data: %s\n\n" % json.dumps(last).encode()
    if chunk_bytes:
        stream = b"".join(chunk(piece) for piece in _reads(stream, chunk_bytes)) + LAST_CHUNK
    answer = _kept(_reads(stream, 700), chunked=bool(chunk_bytes), streamed=True)
    assert answer._cut is not None
    assert answer.usage() == Usage(2000, 1980, 5)


def test_usage_that_a_stream_told_long_ago_is_read() -> None:
    """Some servers tell it once, early; what follows says `null`."""
    null = chunk(b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n')
    told = chunk(b"data: %s\n\n" % json.dumps({"choices": [], "usage": USAGE}).encode())
    assert _kept([*[null] * 3, told, *[null] * 3_000], chunked=True, streamed=True).usage() == RIGHT
    assert _kept([*[null] * 3_000, told, *[null] * 3_000], chunked=True, streamed=True).usage() == RIGHT


def test_memory_is_bounded() -> None:
    """A long stream keeps its start and its end."""
    answer = _kept([b"x" * 1000] * 5_000, streamed=True)
    assert len(answer.tail()) < 2 * WINDOW + 256 * 1000


MESSAGES = (
    b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\r\n\r\n'
    b'event: message_delta\r\ndata: {"type":"message_delta","usage":{"output_tokens":4}}\r\n\r\n'
)


def test_text_that_looks_like_framing_is_text() -> None:
    """A chunk may end after the `e` of `event`, alone in its line like the size of a chunk of 14 bytes."""
    for cut in range(1, len(MESSAGES)):
        reads = [chunk(MESSAGES[:cut]), chunk(MESSAGES[cut:]) + LAST_CHUNK]
        assert _kept(reads, chunked=True, streamed=True).usage() == Usage(3, None, 4), cut


@pytest.mark.parametrize("inner", [b'"a\xc1"', b'{"a":' * 5_000 + b"1" + b"}" * 5_000])
def test_usage_that_cannot_be_read_is_none(inner: bytes) -> None:
    """An engine that answers garbage in its usage costs no request: the counts are unknown."""
    event = b'data: {"choices":[],"usage":{"prompt_tokens":' + inner + b"}}\n\n"
    assert _kept([chunk(event), LAST_CHUNK], chunked=True, streamed=True).usage() == Usage()
    assert _kept([event[6:-2]]).usage() == Usage()
