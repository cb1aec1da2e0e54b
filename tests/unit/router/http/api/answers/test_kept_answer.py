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


def test_usage_between_two_long_parts_is_unknown() -> None:
    """A usage in the middle of a long answer is not kept, and nothing else is taken for it."""
    fake = {"input": {"usage": {"prompt_tokens": 7}}}
    body = {"content": [fake, VECTORS], "usage": USAGE, "more": [VECTORS, fake]}
    answer = _kept(_reads(json.dumps(body).encode(), 65_536))
    assert answer.usage() == Usage()
    assert answer.whole() is None
    assert len(answer.tail()) <= FOLD_BYTES + 65_536


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


def test_memory_is_bounded() -> None:
    """A long stream keeps its start and its end."""
    answer = _kept([b"x" * 1000] * 5_000, streamed=True)
    assert len(answer.tail()) < 2 * WINDOW + 256 * 1000
