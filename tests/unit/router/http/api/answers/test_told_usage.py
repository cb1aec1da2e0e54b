"""Usage that the gateway asks for is hidden from clients, and nothing else of the stream changes."""

import json

import pytest

from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.api.answers.told_usage import asking, hidden, hidden_in_read
from router.http.wire.chunked import LAST_CHUNK, chunk, payload

USAGE = {"prompt_tokens": 1210, "total_tokens": 1265, "completion_tokens": 55}
DETAILS = {**USAGE, "completion_tokens_details": {"reasoning_tokens": 3}}


def _event(text: str, usage: object = USAGE, finish: str | None = None, **more: object) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    body = {"id": "c1", "choices": choices, "usage": usage, **more}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


LAST = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
DONE = chunk(b"data: [DONE]\n\n")


def _seen(text: bytes) -> list[object]:
    data = [data_of(event) for event in split_events(text)[0]]
    return [each if each == b"[DONE]" else json.loads(each) for each in data]


def test_the_last_of_equal_names_is_asked_for() -> None:
    """Whatever the client's own options are, the engine reads ours."""
    body = json.loads(asking(b'{"stream":true,"stream_options":{"include_usage":false}} \n'))
    assert body == {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


@pytest.mark.parametrize("usage", [USAGE, DETAILS, {"prompt_tokens": 1}])
@pytest.mark.parametrize("count", [1, 3])
def test_usage_becomes_null_and_every_byte_keeps_its_place(usage: object, count: int) -> None:
    """The read has the same length and framing; each event is the same but for its usage."""
    texts = ["word", 'say "usage":{"x":1}}', "usage"]
    read = b"".join(chunk(_event(text, usage)) for text in texts[:count])
    shown = hidden_in_read(read, with_last=False)
    assert shown is not None
    assert len(shown) == len(read)
    assert _seen(payload(shown)) == _seen(b"".join(_event(text, None) for text in texts[:count]))
    assert hidden_in_read(read + DONE, with_last=False) == shown + DONE
    assert hidden_in_read(read + DONE + LAST_CHUNK, with_last=False) == shown + DONE + LAST_CHUNK


@pytest.mark.parametrize("usage", [USAGE, {"prompt_tokens": 1}])
@pytest.mark.parametrize("texts", [["", "word"], ["a", "b", "c"]])
def test_several_events_in_one_chunk_are_all_hidden(usage: object, texts: list[str]) -> None:
    """An engine may write its first events at once, and a proxy joins what comes together."""
    short = [b'data: {"choices":[{"text":"%b"}],"usage":{"a":1}}\n\n' % text.encode() for text in texts]
    for events in ([_event(text, usage) for text in texts], short):
        shown = hidden_in_read(chunk(b"".join(events)), with_last=False)
        assert shown is not None
        seen = _seen(payload(shown))
        assert len(seen) == len(texts)
        assert all(isinstance(each, dict) and each["usage"] is None for each in seen)


@pytest.mark.parametrize(
    "read",
    [
        chunk(_event("x", finish="abort")),
        chunk(_event("x")) + chunk(b'data: {"error":{"code":500}}\n\n'),
        chunk(LAST),
        chunk(_event("x")) + chunk(LAST),
        chunk(_event("x"))[:-30],
        chunk(_event("x", more={})),
        chunk(_event("x").replace(b",", b", ")),
        chunk(_event("x", {})),
    ],
)
def test_what_is_not_usual_is_looked_at_closely(read: bytes) -> None:
    """An event in which the engine may give up, the last one, a cut one or an unknown form is not passed in passing."""
    assert hidden_in_read(read, with_last=False) is None


def test_the_last_event_is_the_clients_if_it_asked() -> None:
    """Usage in the last event stays where the client asked for it, else the whole event goes."""
    text = _event("x") + LAST + b"data: [DONE]\n\n"
    assert _seen(hidden(text, with_last=True)) == [*_seen(_event("x", None)), *_seen(LAST), b"[DONE]"]
    assert _seen(hidden(text, with_last=False)) == [*_seen(_event("x", None)), b"[DONE]"]
    assert hidden_in_read(chunk(_event("x")) + chunk(LAST), with_last=True) is not None
    assert hidden(LAST, with_last=False) == b""
