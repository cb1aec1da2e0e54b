"""Token counts and text are read from the end of an answer, without decoding its events."""

import json

from router.estimator.expectation import Usage
from router.http.api.resume import CHAT
from router.http.api.usage import read_answer, read_usage, reply_text
from router.http.wire.chunked import chunk

USAGE = {"prompt_tokens": 21, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 16}}


def test_usage_of_a_plain_answer() -> None:
    """Prompt, cached and completion tokens are read, wherever the `usage` object stands."""
    body = json.dumps({"choices": [{"message": {"content": 'say "usage": {x}'}}], "usage": USAGE, "after": {}})
    assert read_usage(body.encode()) == Usage(21, 16, 8)


def test_usage_of_a_stream() -> None:
    """Usage is read from the last event before [DONE]; `null` in earlier events is ignored."""
    stream = chunk(b'data: {"choices":[],"usage":null}\n\n') + chunk(
        b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
    )
    assert read_usage(stream + chunk(b"data: [DONE]\n\n")) == Usage(21, 16, 8)


def test_usage_that_is_not_there_or_broken_is_unknown() -> None:
    """Missing or broken usage gives no counts."""
    for tail in (b"", b"data: [DONE]", b'"usage":{"prompt_tokens":', b'"usage":{"prompt_tokens":-1}', b'"usage":{x}'):
        assert read_usage(tail) == Usage()


def test_the_reply_of_a_stream_is_its_text() -> None:
    """Quotes, escapes and characters beyond ASCII come out as the model wrote them."""
    pieces = ['He said "', "no\\yes", '"\n', "žluť🐎"]
    stream = b"".join(
        chunk(
            b"data: " + json.dumps({"choices": [{"delta": {"content": piece}}]}, ensure_ascii=False).encode() + b"\n\n"
        )
        for piece in pieces
    )
    assert reply_text(stream) == "".join(pieces)


def test_only_chats_have_a_reply_the_next_turn_holds() -> None:
    """A chat's answer gives a piece of the next turn; a completion's answer gives none."""
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "hi"}}], "usage": USAGE}).encode()
    assert read_answer(CHAT, None, [body]) == (Usage(21, 16, 8), b"assistant\xfehi\xff")
    assert read_answer("/v1/completions", None, [body])[1] == b""
