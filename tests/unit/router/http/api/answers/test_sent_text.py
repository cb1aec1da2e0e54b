"""What a client has been sent of a stream is known: its text, its tokens, and whether it can go on elsewhere."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.estimator.expectation import Usage
from router.http.api.answers.sent_text import SentText
from router.http.api.answers.stream_event import gives_up
from router.http.wire.chunked import chunk


def _event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    body = {"id": "cmpl-1", "created": 7, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def _told(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}


def _sent(*framed: bytes) -> SentText:
    sent = SentText()
    for piece in framed:
        sent.keep(piece)
    sent.fold()
    return sent


@given(
    st.lists(st.text(min_size=1, max_size=200), max_size=40),
    st.lists(st.integers(0, 5000), max_size=10),
    st.integers(1, 400),
)
def test_the_text_is_known_however_it_is_cut(pieces: list[str], cuts: list[int], chunk_bytes: int) -> None:
    """Text and tokens come out exactly, wherever reads and chunks cut the bytes."""
    text = _event({"role": "assistant", "content": ""}) + b"".join(_event({"content": piece}) for piece in pieces)
    framed = b"".join(chunk(text[at : at + chunk_bytes]) for at in range(0, len(text), chunk_bytes))
    edges = sorted({0, len(framed), *(cut % len(framed) for cut in cuts)})
    sent = SentText()
    for start, stop in pairwise(edges):
        sent.keep(framed[start:stop])
        sent.fold()
    assert (sent.text, sent.tokens, sent.resumable) == ("".join(pieces), len(pieces), True)
    assert not sent.within_event


def test_events_may_end_in_crlf_and_stand_beside_comments() -> None:
    """Any line end, `data:` without a space, names, ids and comments are understood."""
    lines = [b": ping", b"", b"event: message", b"id: 3", b'data:{"choices":[{"delta":{"content":"one"}}]}', b"", b""]
    sent = _sent(chunk(b"\r\n".join(lines)), chunk(_event({"content": " two"}) * 2))
    assert (sent.text, sent.tokens, sent.resumable) == ("one two two", 3, True)


def test_memory_is_the_text_not_the_events() -> None:
    """A long stream is folded as it is sent, so that few of its events are kept; so is one that cannot be resumed."""
    sent = SentText()
    for _ in range(10_000):
        sent.keep(chunk(_event({"content": "word "})))
        sent.fold_if_long()
    assert len(sent._kept) <= 300
    sent.fold()
    assert sent.text == "word " * 10_000
    sent.keep(chunk(_event({"reasoning": "hm"})))
    for _ in range(10_000):
        sent.keep(chunk(_event({"content": "word "})))
        sent.fold_if_long()
    assert len(sent.rest()) < 100_000


@pytest.mark.parametrize(
    "event",
    [
        _event({"tool_calls": [{"index": 0}]}),
        _event({"function_call": {"name": "f"}}),
        _event({"content": "x"}) + _event({"reasoning": "hm"}),
        _event({"content": "x"}) + _event({"reasoning_content": "hm"}),
        _event({"content": "x"}, choices=[{"index": 1, "delta": {"content": "x"}}]),
        _event({"content": "x"}, choices=[{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}]),
        b"data: {broken\n\n",
        b'data: {"error": "boom"}\n\n',
        b'data: {"error": {"message": "boom", "code": 500}}\n\n',
        b'data: {"object": "error", "message": "boom", "code": 500}\n\n',
        b'event: error\ndata: {"message": "boom"}\n\n',
        b'data: {"detail": "boom"}\n\n',
    ],
)
def test_what_text_alone_cannot_resume_is_known(event: bytes) -> None:
    """Tool calls, reasoning amid text, log-probabilities, a second choice, a broken event and an error end resuming."""
    sent = _sent(chunk(event))
    assert not sent.resumable
    assert "cannot be continued elsewhere" in sent.why_not_resumable


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_before_the_text_is_kept(name: str) -> None:
    """Under the name in which it came; each event of it is a token, too."""
    sent = _sent(*(chunk(_event({name: piece})) for piece in ("Let me", " see.")))
    assert (sent.reasoning, sent.text, sent.tokens) == ("Let me see.", "", 2)
    assert "cut within its reasoning" in sent.why_not_resumable
    sent.keep(chunk(_event({"content": "Yes"})))
    sent.fold()
    assert (sent.reasoning, sent.reasoning_name, sent.text, sent.tokens) == ("Let me see.", name, "Yes", 3)
    assert (sent.resumable, sent.why_not_resumable) == (True, "")


def test_empty_extras_are_only_text() -> None:
    """Engines write null and empty lists where there is nothing."""
    extras: dict[str, Any] = {"tool_calls": [], "function_call": None, "reasoning": None, "content": "x"}
    assert _sent(chunk(_event(extras, error=None, usage=None))).resumable


def test_nothing_follows_within_an_event() -> None:
    """Where a chunk or an event is incomplete, neither an error nor another replica's text can be added."""
    whole = chunk(_event({"content": "one"}))
    assert not _sent(whole).within_event
    assert _sent(whole[:-9]).within_event
    assert _sent(whole, chunk(b"data: {")).within_event


def test_tokens_are_those_that_the_engine_told() -> None:
    """An event may hold several tokens; where the engine tells none, each event with text is one."""
    sent = _sent(
        chunk(_event({"role": "assistant", "content": ""}, usage=_told(0))),
        chunk(_event({"content": "one two three"}, usage=_told(3))),
    )
    assert (sent.tokens, sent.usage()) == (3, Usage(10, None, 3))
    sent.keep(chunk(_event({"content": " four"}, usage=_told(4))))
    assert sent.usage_about() == Usage(10, None, 4)
    untold = _sent(chunk(_event({"content": "one two three"})), chunk(_event({"content": " four"})))
    assert (untold.tokens, untold.usage()) == (2, Usage())


def test_reasoning_is_read_at_the_end_and_kept_through_a_fold() -> None:
    """As the engine told it last, whether that event is folded, still kept, or cut off by a client that leaves."""
    told = [{**_told(n), "completion_tokens_details": {"reasoning_tokens": min(n, 2)}} for n in range(4)]
    events = [chunk(_event({"reasoning": "hm"} if n < 3 else {"content": "yes"}, usage=told[n])) for n in range(4)]
    sent = _sent(*events)
    assert sent.usage() == sent.usage_about() == Usage(10, None, 3, 2)
    kept = SentText()
    for event in events[:2]:
        kept.keep(event)
    assert kept.usage() == kept.usage_about() == Usage(10, None, 1, 1)


def test_tokens_are_about_the_events_where_none_are_told() -> None:
    """The first event has the role and the last one the reason, whether or not a usage is looked for again."""
    sent = SentText()
    for piece in ({"role": "assistant"}, {"content": "one"}, {"content": " two"}, {}):
        sent.keep(chunk(_event(piece)))
    sent.keep(chunk(b"data: [DONE]\n\n"))
    assert sent.usage_about() == sent.usage_about(is_told=False) == Usage(None, None, 2)


def test_the_last_usage_outlives_a_fold() -> None:
    """Usage that came before the stream's last bytes were read is not lost."""
    last = chunk(b"data: " + json.dumps({"choices": [], "usage": _told(4)}).encode() + b"\n\n")
    for text in ({"content": "x"}, {"reasoning": "hm"}):
        sent = _sent(chunk(_event(text)), last)
        sent.keep(chunk(b"data: [DONE]\n\n"))
        sent.fold()
        assert sent.usage() == Usage(10, None, 4)
        assert sent.usage_sent


@pytest.mark.parametrize(
    ("event", "right"),
    [
        (b'data: {"error": {"message": "EngineCore died", "code": 500}}', True),
        (b'data:{"error":{"code":503}}', True),
        (_event({}, "abort").strip(), True),
        (b'data: {"error": {"message": "too long", "code": 400}}', False),
        (b'data: {"error": {"message": "content filter", "code": null}}', False),
        (b'data: {"error": {"message": "content filter", "code": "content_filter"}}', False),
        (b'data: {"error": {"message": "content filter", "code": "500"}}', False),
        (b'data: {"error": {"message": "content filter"}}', False),
        (b'data: {"error": "boom"}', False),
        (_event({"content": '"error" "abort"'}).strip(), False),
        (b": error", False),
    ],
)
def test_an_engine_gives_up_by_a_servers_error_alone(event: bytes, right: bool) -> None:  # noqa: FBT001 - parametrized
    """Integers of at least 500 and `abort` are the engine's; other errors are the request's and would come again."""
    assert gives_up(event) is right


def test_the_tokens_of_several_choices_add_up() -> None:
    """An engine that tells its usage with each event tells each choice's own; the last event has the whole."""
    pieces = [
        chunk(b"data: %s\n\n" % json.dumps({"choices": [{"index": n % 3, "delta": {}}], "usage": _told(n)}).encode())
        for n in (4, 5, 6, 7)
    ]
    whole = chunk(b"data: %s\n\n" % json.dumps({"choices": [], "usage": _told(21)}).encode())
    for fold in (False, True):
        sent = SentText()
        for piece in pieces:
            sent.keep(piece)
        if fold:
            sent.fold()
        assert sent.usage_about() == Usage(10, None, 7 + 5 + 6)
        sent.keep(whole)
        assert sent.usage() == Usage(10, None, 21)


@pytest.mark.parametrize("held", [0, 1, 5, 11])
@pytest.mark.parametrize("tokens_an_event", [1, 3])
def test_only_the_tokens_whose_text_was_sent_count(held: int, tokens_an_event: int) -> None:
    """An engine that holds text back has told more; another one goes on after what was sent, and not after that."""
    tokens = [f"w{number:02} " for number in range(60)]  # of four characters each
    sent, generated, shown = SentText(), "", ""
    for at in range(0, len(tokens), tokens_an_event):
        generated += "".join(tokens[at : at + tokens_an_event])
        piece = generated[len(shown) : max(0, len(generated) - held)]
        shown += piece
        sent.keep(chunk(_event({"content": piece}, usage=_told(at + tokens_an_event))))
    sent.fold()
    assert sent.text == shown
    assert sent.tokens == len(tokens)
    sent.go_on_after(held)
    assert sent.tokens == len(shown) // 4
    assert sent.usage_about().completion_tokens == sent.tokens
    sent.go_on_after(held)
    assert sent.tokens == len(shown) // 4
    sent.keep(chunk(_event({"content": "abcd" * 5}, usage=_told(sent.tokens + 5 + -(-held // 4)))))
    sent.fold()
    sent.go_on_after(held)
    assert sent.tokens == len(shown) // 4 + 5


def test_a_character_whose_bytes_are_not_all_there_is_no_text_yet() -> None:
    """Tokens of an event without text are not counted as sent."""
    sent = _sent(chunk(_event({"content": "one"}, usage=_told(1)) + _event({"content": ""}, usage=_told(2))))
    assert sent.tokens == 2
    sent.go_on_after(0)
    assert sent.tokens == 1


def _held_back(words: list[str], held: int, kind: str = "content") -> list[bytes]:
    """Return the events of an engine that says words, a token each, and holds the end of its text back."""
    events, text, shown = [], "", 0
    for number, word in enumerate(words, start=1):
        text += word
        end = max(shown, len(text) - held)
        events.append(chunk(_event({kind: text[shown:end]}, usage=_told(number))))
        shown = end
    return events


def test_a_token_is_known_to_end_where_an_event_had_its_text() -> None:
    """Of what was held back then: the last such place, which is not after a space where that would be taken off."""
    words = [f"word{number:02} " for number in range(20)]  # of seven characters each
    sent = _sent(*_held_back(words, held=10))
    assert len(sent.text) == 130
    assert sent.go_back(10, len(sent.text), after_space=True)
    assert (sent.reached, sent.tokens, sent.to_repeat) == (126, 18, sent.text[126:])
    assert sent.usage() == Usage(10, None, 18)  # the client has them, though they are generated once more
    spaced = _sent(*_held_back(words, held=10))
    assert spaced.go_back(10, len(spaced.text), after_space=False)
    assert (spaced.reached, spaced.tokens) == (0, 0)  # all words end in a space


def test_the_beginning_is_as_good_a_place_as_any_near_it() -> None:
    """The prompt is then read into tokens alone."""
    sent = _sent(*_held_back(["one ", "two ", "three "], held=3))
    assert sent.go_back(3, len(sent.text), after_space=True)
    assert (sent.reached, sent.tokens) == (0, 0)


def test_a_place_too_far_back_is_not_gone_to() -> None:
    """What an engine holds back over 512 characters is not looked for: nothing changes, and tokens are counted."""
    sent = _sent(*_held_back([f"word{number:03} " for number in range(600)], held=1500))
    assert not sent.go_back(1500, len(sent.text), after_space=True)
    sent.go_on_after(1500)
    assert sent.reached == len(sent.text)


def test_no_place_is_known_by_what_was_held_back_of_reasoning() -> None:
    """Its end stands in what is held back, but not in the text."""
    sent = _sent(
        *_held_back(["Let ", "me ", "see. "], held=4, kind="reasoning"),
        chunk(_event({"content": "It is "}, usage=_told(6))),
    )
    assert not sent.go_back(4, len(sent.text), after_space=True)
    assert sent.go_back(0, len(sent.text), after_space=True)
    assert (sent.reached, sent.tokens) == (len("It is "), 6)
