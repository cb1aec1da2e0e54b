"""An answer as it is read."""

import re

import pytest

from deployments.load.client.streamed_answer import StreamedAnswer

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
ONE = b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n'
THOUGHT = b'data: {"choices":[{"delta":{"reasoning":"hm"}}]}\n\n'
TOOL = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{"content":" two"},"finish_reason":"length"}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,'
    b'"prompt_tokens_details":{"cached_tokens":8}}}\n\n'
)
END = b"data: [DONE]\n\n"
WHOLE = ROLE + b": a comment\n\n" + ONE + THOUGHT + TOOL + LAST + USAGE + END


def _read(*pieces: bytes, status: int = 200) -> StreamedAnswer:
    answer = StreamedAnswer()
    answer.status_received(status)
    for at_s, piece in enumerate(pieces):
        answer.body_received(piece, float(at_s))
    return answer


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_an_answer_is_the_same_however_it_is_cut(size: int, line_end: bytes) -> None:
    """Text, usage and the number of events with tokens do not depend on how the network cuts the bytes."""
    text = WHOLE.replace(b"\n", line_end)
    answer = _read(*(text[place : place + size] for place in range(0, len(text), size)))
    assert answer.text == "one two"
    assert len(answer.times_s) == 4
    assert (answer.usage.prompt_tokens, answer.usage.cached_tokens, answer.usage.completion_tokens) == (9, 8, 4)
    assert answer.refusal() == ""


def test_the_first_token_is_not_the_role() -> None:
    """The event that only says who speaks is no token; reasoning and tool calls are."""
    for first in (ONE, THOUGHT, TOOL):
        assert _read(ROLE, first).times_s.tolist() == [1.0]


def test_the_first_token_is_told_once() -> None:
    """Whoever waits for the first token hears of it when it comes, and of no other."""
    told: list[int] = []
    answer = StreamedAnswer(lambda: told.append(1))
    answer.status_received(200)
    for piece in (ROLE, ONE, LAST):
        answer.body_received(piece, 0.0)
    assert told == [1]


@pytest.mark.parametrize(
    ("pieces", "status", "words"),
    [
        ((ROLE + ONE,), 200, "cut"),
        ((ROLE + END,), 200, "without tokens"),
        ((b'{"error":{"message":"busy"}}',), 503, "HTTP 503.*busy"),
        ((ONE + b'data: {"error":{"message":"died"}}\n\n' + END,), 200, "broke off.*died"),
        ((ONE + b"data: {nonsense\n\n" + END,), 200, "no answer"),
    ],
)
def test_what_is_no_whole_answer_says_why(pieces: tuple[bytes, ...], status: int, words: str) -> None:
    """A refusal, a cut, an error in the stream and nonsense are failures, each in words."""
    refusal = _read(*pieces, status=status).refusal()
    assert re.search(words, refusal)


def test_completions_have_their_text_in_the_choice() -> None:
    """`/v1/completions` has `text` where chats have `delta`."""
    answer = _read(b'data: {"choices":[{"text":"word","finish_reason":"stop"}]}\n\n')
    assert answer.text == "word"
    assert answer.refusal() == ""
