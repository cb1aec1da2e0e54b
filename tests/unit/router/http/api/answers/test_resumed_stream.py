"""The second replica's stream reads as the rest of the first one."""

import json
from typing import Any

import pytest

from router.estimator.expectation import Usage
from router.http.api.answers.resume import CHAT, COMPLETIONS
from router.http.api.answers.resumed_stream import ResumedStream, UsageAsked, ending
from router.http.api.answers.sent_text import SentText
from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.wire.chunked import LAST_CHUNK, chunk, payload


def _event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    body = {"id": "c1", "object": "o", "created": 7, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}  # fmt: skip
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _usage(prompt: int, completion: int, **fields: object) -> dict[str, object]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **fields}


def _sent(*events: bytes) -> SentText:
    sent = SentText()
    for event in events:
        sent.keep(chunk(event))
    sent.fold()
    return sent


def _first(*, told: bool) -> SentText:
    usage: list[dict[str, Any]] = [{"usage": _usage(10, tokens)} if told else {} for tokens in (0, 5)]
    return _sent(
        _event({"role": "assistant", "content": ""}, **usage[0]), _event({"content": "one to five"}, **usage[1])
    )


def _second(*, told: bool) -> list[bytes]:
    other: dict[str, Any] = {"id": "other", "created": 9}
    usage: dict[str, Any] = {"usage": _usage(25, 2)} if told else {}
    details = {"prompt_tokens_details": {"cached_tokens": 16}}
    last = b"data: " + json.dumps({**other, "choices": [], "usage": _usage(25, 2, **details)}).encode() + b"\n\n"
    return [
        _event({"role": "assistant", "content": ""}, **other),
        b": ping\n\n",
        _event({"content": " six seven"}, **other, **usage),
        _event({}, "stop", **other),
        last,
        b"data: [DONE]\n\n",
    ]


def _out(resumed: ResumedStream, events: list[bytes], read_bytes: int = 11, line: bytes = b"\n") -> list[Any]:
    framed = b"".join(chunk(event.replace(b"\n", line)) for event in events) + LAST_CHUNK
    out = b"".join(resumed.feed(framed[at : at + read_bytes]) for at in range(0, len(framed), read_bytes))
    found = [data_of(event) for event in split_events(payload(out))[0]]
    return [data if data == b"[DONE]" else json.loads(data) for data in found if data]


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
@pytest.mark.parametrize("told", [True, False])
def test_the_resumed_stream_reads_as_one(told: bool, line: bytes) -> None:  # noqa: FBT001 - parametrized
    """The rest has the first stream's `id`, does not repeat its opening, and ends with the usage of the whole."""
    sent = _first(told=told)
    *events, done = _out(ResumedStream(sent, UsageAsked(last=True)), _second(told=told), line=line)
    assert done == b"[DONE]"
    assert {(event["id"], event["created"]) for event in events} == {("c1", 7)}
    assert [choice["delta"].get("content") for event in events for choice in event["choices"]] == [" six seven", None]
    assert not any(event.get("usage") for event in events if event["choices"])
    prompt, before = (10, 5) if told else (24, 1)  # without told usage, an event is taken for a token
    details = {"cached_tokens": min(16, prompt)}
    assert events[-1]["usage"] == _usage(prompt, before + 2, prompt_tokens_details=details)
    assert (sent.text, sent.finished) == ("one to five six seven", True)
    assert sent.usage().completion_tokens == before + 2


def test_usage_that_was_not_asked_for_is_left_out_but_counted() -> None:
    """The client sees what it asked for; the gateway counts all the same."""
    sent = _first(told=True)
    events = _out(ResumedStream(sent, UsageAsked()), _second(told=True))
    assert not any("usage" in event for event in events[:-1])
    assert (sent.usage().prompt_tokens, sent.usage().completion_tokens) == (10, 7)
    each = _out(ResumedStream(_first(told=True), UsageAsked(last=True, each=True)), _second(told=True))
    assert each[0]["usage"] == _usage(10, 7)


def test_reasoning_of_the_first_part_counts_in_the_whole() -> None:
    """The second replica goes on behind it, so it tells none; where it tells nothing at the end, ours is told."""
    reasoned: dict[str, Any] = {"usage": _usage(10, 5, completion_tokens_details={"reasoning_tokens": 3})}
    sent = _sent(_event({"reasoning": "a b c"}), _event({"content": "one two"}, **reasoned))
    *_, last, _ = _out(ResumedStream(sent, UsageAsked(last=True)), _second(told=True))
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert sent.usage() == Usage(10, 10, 7, 3)
    cut = _sent(_event({"reasoning": "a b c"}), _event({"content": "one two"}, **reasoned))
    told = split_events(ending(CHAT, cut, UsageAsked(last=True), finish_reason="stop"))[0][-2]
    assert json.loads(data_of(told))["usage"] == reasoned["usage"]


def test_an_error_that_is_null_is_none() -> None:
    """Some engines write `error` in every event: the event is rewritten as any other, and its text is known."""
    sent = _first(told=True)
    (event,) = _out(
        ResumedStream(sent, UsageAsked()), [_event({"content": " six"}, id="other", error=None, usage=_usage(9, 1))]
    )
    assert (event["id"], "usage" in event) == ("c1", False)
    assert sent.text.endswith(" six")


@pytest.mark.parametrize(
    "event",
    [_event({"reasoning": "hm"}), _event({"tool_calls": [{"index": 0}]}), b"data: {broken\n\n"],
)
def test_an_engine_that_does_not_continue_the_text_is_seen(event: bytes) -> None:
    """Reasoning, tool calls or a broken event do not go on from a text: nothing of them reaches the client."""
    resumed = ResumedStream(_first(told=True), UsageAsked())
    assert _out(resumed, [event, _event({"content": "x"})]) == []
    assert resumed.strayed


def test_the_end_that_a_replica_left_out_is_made_up() -> None:
    """Finish reason, usage as asked for and `[DONE]` follow, in the path's shape."""
    sent = _first(told=True)

    def data(path: str, asked: UsageAsked, reason: str | None) -> list[Any]:
        events = split_events(ending(path, sent, asked, finish_reason=reason))[0]
        found = [data_of(event) for event in events]
        assert found[-1] == b"[DONE]"
        return [json.loads(each) for each in found[:-1]]

    about = {"id": "c1", "object": "o", "created": 7, "model": "m"}
    finish = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
    assert data(CHAT, UsageAsked(last=True), "length") == [
        {**about, "choices": [finish]},
        {**about, "choices": [], "usage": _usage(10, 5)},
    ]
    assert data(COMPLETIONS, UsageAsked(), "length")[0]["choices"][0]["text"] == ""
    assert data(CHAT, UsageAsked(), None) == []
    sent.usage_sent = True
    assert data(CHAT, UsageAsked(last=True), None) == []
