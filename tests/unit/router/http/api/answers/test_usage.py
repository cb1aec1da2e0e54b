"""Each API's `usage` means the same counts, and nothing else in an answer is taken for it."""

import json
from typing import Any

import msgspec
import pytest

from router.estimator.expectation import Usage
from router.http.api.answers.usage import counted, first_usage, last_usage, usage_in, usage_of
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
    for broken in (b"", b"{", b"[]", b'{"usage":{x}}', b'{"usage":7}', b'{"usage":null}', b'{"message":"usage"}'):
        assert usage_in(broken) is None


def _cut(fields: dict[str, Any]) -> bytes:
    """Return the second half of a JSON body."""
    body = json.dumps(fields).encode()
    return body[len(body) // 2 :]


def test_the_end_of_a_long_answer_is_enough() -> None:
    """Its usage is found behind long content, before fields that follow, and only at the answer's own level."""
    content = "x" * 500
    tool = {"input": {"usage": {"prompt_tokens": 99_999}}}
    assert last_usage(_cut({"choices": content, "usage": OF_CHAT, "after": [{"a": 1}]})) == OF_CHAT
    assert last_usage(_cut({"choices": content, "usage": OF_CHAT, "tools": [tool]})) == OF_CHAT
    assert last_usage(_cut({"choices": content, "tools": [tool]})) is None


def test_the_start_of_a_long_answer_is_enough() -> None:
    """A usage that stands before long content is found there, and only at the answer's own level."""
    tool = {"input": {"usage": {"prompt_tokens": 99_999}}}
    body = json.dumps({"tool": tool, "usage": OF_CHAT, "data": ["x" * 500]}).encode()
    assert first_usage(body[: len(body) // 2]) == OF_CHAT
    body = json.dumps({"tool": tool, "data": ["x" * 500]}).encode()
    assert first_usage(body[: len(body) // 2]) is None


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
        assert last_usage(stream) == OF_CHAT
        assert last_usage("".join(events).encode()) == OF_CHAT


def test_an_unfinished_usage_is_none() -> None:
    """What is cut off or broken gives no counts."""
    for tail in (b"", b"data: [DONE]", b'"usage":{"prompt_tokens":', b'"usage":{x}', b'"usage"', b'"usage":"x"'):
        assert last_usage(tail) is None


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
