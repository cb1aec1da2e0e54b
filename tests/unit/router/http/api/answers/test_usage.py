"""Each API's `usage` means the same counts, and nothing else in an answer is taken for it."""

import json

import msgspec
import pytest

from router.estimator.expectation import Usage
from router.http.api.answers.usage import counted, counted_at_end, last_usage_of_stream, usage_in, usage_of
from router.http.wire.chunked import chunk

OF_CHAT = {"prompt_tokens": 2000, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1980}}


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        (OF_CHAT, Usage(2000, 1980, 5)),
        ({"input_tokens": 20, "cache_read_input_tokens": 1980, "output_tokens": 5}, Usage(2000, 1980, 5)),
        (
            {"input_tokens": 5, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 1995, "output_tokens": 5},
            Usage(2000, 0, 5),
        ),
        ({"input_tokens": 20, "cache_read_input_tokens": None, "output_tokens": 5}, Usage(20, None, 5)),
        (
            {"input_tokens": 2000, "input_tokens_details": {"cached_tokens": 1980}, "output_tokens": 5},
            Usage(2000, 1980, 5),
        ),
        ({"prompt_tokens": 8, "total_tokens": 8}, Usage(8, None, None)),
        ({"total_tokens": 15}, Usage(15, None, None)),
        ({"type": "duration", "seconds": 12}, Usage()),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 13}}, Usage(10, 10, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, Usage()),
        ({"prompt_tokens": "12", "completion_tokens": 1e300}, Usage()),
        (None, Usage()),
        ([1], Usage()),
    ],
)
def test_every_api_counts_the_same(fields: object, right: Usage) -> None:
    """Prompt tokens include the cached ones, whatever the API calls them, and no more is cached than there is."""
    assert counted(fields) == right


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({**OF_CHAT, "completion_tokens_details": {"reasoning_tokens": 3}}, Usage(2000, 1980, 5, 3)),
        ({**OF_CHAT, "completion_tokens_details": {"reasoning_tokens": 9}}, Usage(2000, 1980, 5, 5)),
        ({**OF_CHAT, "completion_tokens_details": {"reasoning_tokens": "3"}}, Usage(2000, 1980, 5)),
        ({**OF_CHAT, "completion_tokens_details": None}, Usage(2000, 1980, 5)),
        (
            {"input_tokens": 20, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}},
            Usage(20, None, 5, 0),
        ),
        (None, Usage()),
    ],
)
def test_reasoning_is_part_of_what_was_generated(fields: object, right: Usage) -> None:
    """An answer's end tells it, in either of two places; a whole answer's JSON is read alike."""
    assert counted_at_end(fields) == right
    assert usage_of(json.dumps({"usage": fields}).encode()) == right


def test_only_the_answers_own_usage_is_read() -> None:
    """A `usage` in a tool's arguments, a text or a nested object is content."""
    tool = {"type": "tool_use", "input": {"usage": {"input_tokens": 99_999, "output_tokens": 9}}}
    text = {"type": "text", "text": '"usage": {"input_tokens": 99999}'}
    answer = {"content": [text, tool], "usage": {"input_tokens": 20, "output_tokens": 5}}
    for body in (answer, dict(reversed(answer.items()))):
        assert usage_in(json.dumps(body).encode()) == {"input_tokens": 20, "output_tokens": 5}
    assert usage_in(json.dumps({"content": [tool]}).encode()) is None
    assert usage_in(json.dumps({"type": "response.completed", "response": {"usage": OF_CHAT}}).encode()) == OF_CHAT
    assert usage_in(json.dumps({"message": {"usage": OF_CHAT}, "type": "message_start"}).encode()) == OF_CHAT
    assert usage_in(json.dumps({"choices": [], "usage": None, "x_groq": {"usage": OF_CHAT}}).encode()) == OF_CHAT
    assert usage_in(json.dumps({"choices": [], "delta": {"usage": OF_CHAT}}).encode()) is None
    for broken in (b"", b"{", b"[]", b'{"usage":{x}}', b'{"usage":7}', b'{"usage":null}', b'{"message":"usage"}'):
        assert usage_in(broken) is None


def test_the_last_usage_of_a_stream_counts() -> None:
    """It is read through the chunks' framing, with LF or CRLF; `null` in other events is ignored."""
    for end in ("\n\n", "\r\n\r\n"):
        events = [
            f"data: {json.dumps({'choices': [1], 'usage': {'prompt_tokens': 1}})}{end}",
            f"data: {json.dumps({'choices': [], 'usage': OF_CHAT})}{end}",
            f'data: {{"choices":[],"usage":null}}{end}',
            f"data: [DONE]{end}",
        ]
        stream = b"".join(chunk(event.encode()) for event in events)
        assert last_usage_of_stream(stream) == OF_CHAT
        assert last_usage_of_stream("".join(events).encode()) == OF_CHAT


@pytest.mark.parametrize("extension", [b"", b";x=1"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_chunks_may_cut_anything(size: int, extension: bytes) -> None:
    """Proxies cut a body where their buffers end: also within the key, and at each of its letters for some size."""
    events = [{"choices": [1], "usage": {"prompt_tokens": 1}}, {"choices": [], "usage": OF_CHAT}]
    stream = b"".join(b"data: %s\n\n" % msgspec.json.encode(event) for event in events) + b"data: [DONE]\n\n"
    for shift in range(size):
        pieces = [stream[:shift], *(stream[at : at + size] for at in range(shift, len(stream), size))]
        framed = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
        assert last_usage_of_stream(framed + b"0\r\n\r\n") == OF_CHAT


@pytest.mark.parametrize(
    "event",
    [
        b"data: %s\nid: 7\nretry: 5\n\n" % msgspec.json.encode({"choices": [], "usage": OF_CHAT}),
        b"".join(b"data: %s\n" % line.encode() for line in json.dumps({"usage": OF_CHAT}, indent=1).split("\n"))
        + b"\n",
        b"event: x\r\ndata:%s\r\nid: 7\r\n\r\n" % msgspec.json.encode({"response": {"usage": OF_CHAT}}),
    ],
    ids=["fields behind the data", "data in lines", "CRLF"],
)
def test_events_may_be_written_in_any_way(event: bytes) -> None:
    """An event's fields come in any order, and its data in several lines (HTML standard, 9.2.6)."""
    stream = chunk(b'data: {"choices":[1],"usage":null}\n\n') + chunk(event) + chunk(b"data: [DONE]\n\n")
    assert last_usage_of_stream(stream) == OF_CHAT


def test_an_unfinished_usage_is_none() -> None:
    """What is cut off or broken gives no counts."""
    for tail in (b"", b"data: [DONE]", b'"usage":{"prompt_tokens":', b'"usage":{x}', b'"usage"', b'"usage":"x"'):
        assert last_usage_of_stream(tail) is None


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": None},
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 99}},
        {"prompt_tokens": 7, "cache_read_input_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": "3"},
        {"input_tokens": 7, "cache_read_input_tokens": 2, "output_tokens": 3},
        {"prompt_tokens": -1},
        None,
    ],
)
def test_the_short_way_finds_what_the_long_one_does(usage: object) -> None:
    """The usual form is decoded in one step; the counts are those that the general reading finds."""
    body = msgspec.json.encode({"id": "c", "choices": [], "usage": usage})
    assert usage_of(body) == counted(usage_in(body))
