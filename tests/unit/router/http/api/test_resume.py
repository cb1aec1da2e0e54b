"""The text sent of a stream is known exactly, and another replica is asked to continue there."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router.http.api.resume import CHAT, COMPLETIONS, ResumedStream, continuation_body
from router.http.api.sent_text import SentText
from router.http.wire.chunked import LAST_CHUNK, chunk, payload


def _event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    body = {"id": "cmpl-1", "created": 7, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def _sent(*framed: bytes) -> SentText:
    sent = SentText()
    for piece in framed:
        sent.keep(piece)
    sent.fold()
    return sent


@given(st.lists(st.text(min_size=1, max_size=200), max_size=40), st.lists(st.integers(0, 5000), max_size=10))
def test_the_text_is_known_however_reads_cut_it(pieces: list[str], cuts: list[int]) -> None:
    """Text and tokens come out exactly, wherever reads cut the bytes."""
    framed = chunk(_event({"role": "assistant", "content": ""})) + b"".join(
        chunk(_event({"content": piece})) for piece in pieces
    )
    edges = sorted({0, len(framed), *(cut % len(framed) for cut in cuts)})
    sent = SentText()
    for start, stop in pairwise(edges):
        sent.keep(framed[start:stop])
        sent.fold()
    assert (sent.text, sent.tokens, sent.resumable) == ("".join(pieces), len(pieces), True)


def test_memory_is_the_text_not_the_events() -> None:
    """A long stream is folded as it is sent, so that few of its events are kept."""
    sent = SentText()
    for _ in range(10_000):
        sent.keep(chunk(_event({"content": "word "})))
        sent.fold_if_long()
    assert len(sent._kept) <= 300
    sent.fold()
    assert sent.text == "word " * 10_000


def test_what_text_alone_cannot_resume_is_known() -> None:
    """A stream with tool calls, reasoning, log-probabilities, a second choice or a broken event is not resumable."""
    for event in (
        _event({"tool_calls": [{"index": 0}]}),
        _event({"reasoning": "hm"}),
        _event({"content": "x"}, choices=[{"index": 1, "delta": {"content": "x"}}]),
        _event({"content": "x"}, choices=[{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}]),
        b"data: {broken\n\n",
        b"data: no end",
    ):
        assert not _sent(chunk(event)).resumable


def test_a_chat_goes_on_from_its_own_text() -> None:
    """The assistant's text so far becomes the message to continue, and the limit shrinks by the tokens sent."""
    body = b'{"model":"m","messages":[{"role":"user","content":"count"}],"max_tokens":10,"temperature":0}'
    sent = _sent(chunk(_event({"content": "one, "})), chunk(_event({"content": "two"})))
    asked = json.loads(continuation_body(CHAT, body, sent) or b"")
    assert asked == {
        "model": "m",
        "temperature": 0,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "count"}, {"role": "assistant", "content": "one, two"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


def test_a_continuation_is_continued() -> None:
    """A request that itself continues a message is resumed within that message."""
    body = b'{"messages":[{"role":"assistant","content":"one,"}],"continue_final_message":true}'
    asked = json.loads(continuation_body(CHAT, body, _sent(chunk(_event({"content": " two"})))) or b"")
    assert asked["messages"] == [{"role": "assistant", "content": "one, two"}]


def test_a_completion_goes_on_from_a_longer_prompt() -> None:
    """A text prompt grows by the text sent; a prompt of token ids cannot be resumed."""
    event = b'data: {"id":"c","created":1,"choices":[{"index":0,"text":" b c"}]}\n\n'
    asked = json.loads(continuation_body(COMPLETIONS, b'{"prompt":"a"}', _sent(chunk(event))) or b"")
    assert asked["prompt"] == "a b c"
    assert continuation_body(COMPLETIONS, b'{"prompt":[1,2]}', _sent(chunk(event))) is None


def test_requests_that_are_more_than_text_are_not_resumed() -> None:
    """Requests with grammars, tools, log-probabilities or several choices are not resumed, as text would be wrong."""
    sent = _sent(chunk(_event({"content": "x"})))
    for field in ('"tools":[{}]', '"response_format":{"type":"json_object"}', '"logprobs":true', '"n":2'):
        body = b'{"messages":[{"role":"user","content":"a"}],%s}' % field.encode()
        assert continuation_body(CHAT, body, sent) is None


def test_nothing_sent_yet_asks_the_same_again() -> None:
    """Before any text was sent, the body to resume with is the client's own."""
    body = b'{ "messages": [] }'
    assert continuation_body(CHAT, body, _sent(chunk(_event({"role": "assistant", "content": ""})))) == body


def test_the_resumed_stream_reads_as_one() -> None:
    """The rest has the first stream's `id`, does not repeat its opening, and counts the tokens of both replicas."""
    sent = _sent(chunk(_event({"role": "assistant", "content": ""})), chunk(_event({"content": "one"})))
    resumed = ResumedStream(sent)
    second = b"".join(
        map(
            chunk,
            (
                _event({"role": "assistant", "content": ""}, id="other", created=9),
                _event({"content": " two"}, id="other", created=9),
                _event({}, "stop", id="other", created=9),
                b'data: {"id":"other","created":9,"choices":[],"usage":{"prompt_tokens":21,"completion_tokens":1}}\n\n',
                b"data: [DONE]\n\n",
            ),
        )
    )
    out = b"".join(resumed.feed((second + LAST_CHUNK)[start : start + 11]) for start in range(0, len(second) + 5, 11))
    events = payload(out).split(b"\n\n")[:-1]
    assert events[-1] == b"data: [DONE]"
    decoded = [json.loads(event[6:]) for event in events[:-1]]
    assert {(event["id"], event["created"]) for event in decoded} == {("cmpl-1", 7)}
    assert [choice["delta"].get("content") for event in decoded for choice in event["choices"]] == [" two", None]
    assert decoded[-1]["usage"] == {"prompt_tokens": 20, "completion_tokens": 2}
    assert (sent.text, sent.finished) == ("one two", True)
