"""What engines answer: readers of events and usage never fail, and read the same however the bytes come."""

from random import Random
from typing import Final

from router.http.api.answers.kept_answer import KeptAnswer
from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.api.answers.usage import UNKNOWN, usage_of
from router.http.wire.chunked import ChunkedError, ChunkedWalk, chunk
from tests.fuzz.target import Target


def check(data: bytes) -> None:
    """Split into events, read the usage, walk the chunks: no exception, no byte lost, one meaning."""
    events, rest = split_events(data)
    for event in events:
        data_of(event)
        assert b"\n\n" not in event
    if b"\r" not in data:
        assert b"\n\n".join([*events, rest]) == data
    usage_of(data)
    rng = Random(len(data))
    _kept(data, rng)
    _walked(data, rng)


def _kept(data: bytes, rng: Random) -> None:
    """A stream's usage is the same in one chunk, none and several, or not found where one ends within its event."""
    plain = KeptAnswer(chunked=False, streamed=True)
    plain.keep_bounded(data)
    found = [plain.usage()]
    for cuts in ([], sorted(rng.randrange(len(data) + 1) for _ in range(3))):
        answer = KeptAnswer(chunked=True, streamed=True)
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            if data[begin:end]:
                answer.keep_bounded(chunk(data[begin:end]))
        answer.keep_bounded(b"0\r\n\r\n")
        found.append(answer.usage())
    assert found[0] == found[1], found
    assert found[1] == found[2] or UNKNOWN in found, found


def _walked(data: bytes, rng: Random) -> None:
    """Chunk framing ends at the same byte, or is found broken, however it is split."""
    cut = rng.randrange(len(data) + 1)
    ends: list[object] = []
    for pieces in ([data], [data[:cut], data[cut:]]):
        walk, seen, end = ChunkedWalk(), 0, -1
        try:
            for piece in pieces:
                found = walk.feed(piece)
                if found >= 0:
                    end = seen + found
                    break
                seen += len(piece)
        except ChunkedError:
            ends.append("broken")
        else:
            ends.append(end)
    assert ends[0] == ends[1], ends


TARGET: Final = Target(
    check,
    seeds=(
        (
            b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":5,'
            b'"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}\n\ndata: [DONE]\n\n'
        ),
        (
            b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\r\n\r\n'
            b'event: message_delta\r\ndata: {"type":"message_delta","usage":{"output_tokens":4}}\r\n\r\n'
        ),
        b'{"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7},"choices":[{"text":"a"}]}',
        b"5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nt: v\r\n\r\n",
        b'data: {"type":"response.completed","response":{"usage":{"input_tokens":1,"output_tokens":2}}}\n\n',
    ),
    words=(
        b"data: ",
        b"data:",
        b"event: ",
        b"id: ",
        b": c",
        b"\n\n",
        b"\r\n\r\n",
        b"\r\r",
        b"\n\r\n",
        b"\n",
        b"\r",
        b"[DONE]",
        b'"usage"',
        b'"prompt_tokens"',
        b'"completion_tokens"',
        b'"cached_tokens"',
        b"null",
        b"-1",
        b"1e400",
        b"1.5",
        b'"x"',
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\\u",
        b"\xff",
        b"\x00",
        b"0\r\n\r\n",
        b"ffff\r\n",
        b"\xef\xbb\xbf",
        b'"message"',
        b'"response"',
        b'"input_tokens"',
        b'"output_tokens"',
    ),
)
