"""Another replica is asked to continue where the text ends, for the tokens that are left."""

import json

import pytest

from router.http.api.answers.resume import CHAT, COMPLETIONS, continuation_body, may_be_resumed, tokens_left
from router.http.api.answers.sent_text import SentText

USER = {"role": "user", "content": "count"}


def _sent(text: str, tokens: int) -> SentText:
    """Return what was sent by an engine that told its tokens with one event."""
    sent = SentText()
    usage = {"prompt_tokens": 1, "completion_tokens": tokens}
    event = {"choices": [{"index": 0, "delta": {"content": text}}], "usage": usage}
    sent.add_event(b"data: " + json.dumps(event).encode())
    return sent


def _asked(path: str, body: dict[str, object], sent: SentText) -> dict[str, object]:
    asked: dict[str, object] = json.loads(continuation_body(path, json.dumps(body).encode(), sent) or b"null")
    return asked


def test_a_chat_goes_on_from_its_own_text() -> None:
    """The assistant's text so far becomes the message to continue, and the limits shrink by the tokens sent."""
    body = {"model": "m", "messages": [USER], "max_tokens": 10, "min_tokens": 1, "temperature": 1}
    assert _asked(CHAT, body, _sent("one, two", 2)) == {
        "model": "m",
        "temperature": 1,
        "max_tokens": 8,
        "min_tokens": 0,
        "messages": [USER, {"role": "assistant", "content": "one, two"}],
        "continue_final_message": True,
        "add_generation_prompt": False,
    }


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_goes_along(name: str) -> None:
    """In the field in which it came, before the text; its tokens are used up. Without text nothing can go on."""
    sent = _sent("Yes", 5)
    sent.reasoning, sent.reasoning_name = "Let me see.", name
    asked = _asked(CHAT, {"messages": [USER], "max_tokens": 9}, sent)
    assert asked["messages"] == [USER, {"role": "assistant", name: "Let me see.", "content": "Yes"}]
    assert asked["max_tokens"] == 4
    sent.text = ""
    assert _asked(CHAT, {"messages": [USER]}, sent) is None
    sent.text = "Yes"
    continues = {"messages": [{"role": "assistant", "content": "a"}], "continue_final_message": True}
    assert _asked(CHAT, continues, sent) is None


def test_a_continuation_is_continued() -> None:
    """A request that itself continues a message is resumed within that message."""
    body = {"messages": [{"role": "assistant", "content": "one,"}], "continue_final_message": True}
    assert _asked(CHAT, body, _sent(" two", 1))["messages"] == [{"role": "assistant", "content": "one, two"}]


def test_a_completion_goes_on_from_a_longer_prompt() -> None:
    """A text prompt grows by the text sent; token ids and several prompts cannot be resumed."""
    asked = _asked(COMPLETIONS, {"prompt": "a"}, _sent(" b c", 2))
    assert (asked["prompt"], asked["max_tokens"]) == ("a b c", 14)
    for prompt in ([1, 2], ["a"], None):
        assert _asked(COMPLETIONS, {"prompt": prompt}, _sent(" b c", 2)) is None


@pytest.mark.parametrize(
    ("path", "body", "right"),
    [
        (CHAT, {"max_tokens": 20}, 5),
        (CHAT, {"max_tokens": 99, "max_completion_tokens": 15}, 0),
        (CHAT, {"max_tokens": None}, None),
        (COMPLETIONS, {"max_tokens": 20}, 5),
        (COMPLETIONS, {}, 1),
        (COMPLETIONS, {"max_tokens": None}, 1),
    ],
)
def test_the_tokens_that_are_left_are_known(path: str, body: dict[str, object], right: int | None) -> None:
    """A chat's newer field counts before the older one; a completion has 16 tokens where it does not say."""
    assert tokens_left(path, body, _sent("x", 15)) == right


@pytest.mark.parametrize("written", ["20", 20.0, " 20.0 "])
def test_limits_are_numbers_however_they_are_written(written: object) -> None:
    """Engines take one in quotes or with a point, so it shrinks as well; one that cannot be read is not continued."""
    body = {"messages": [USER], "prompt": "a", "max_tokens": written, "min_tokens": written}
    for path in (CHAT, COMPLETIONS):
        asked = _asked(path, body, _sent(" x", 15))
        assert (asked["max_tokens"], asked["min_tokens"]) == (5, 5)
    for field in ("max_tokens", "max_completion_tokens", "min_tokens"):
        assert _asked(CHAT, {"messages": [USER], field: "2_0"}, _sent(" x", 15)) is None


@pytest.mark.parametrize(
    "field",
    ['"tools":[{}]', '"response_format":{"type":"json_object"}', '"logprobs":true', '"n":2', '"echo":true',
     '"suffix":"x"', '"return_token_ids":true', '"structured_outputs":{"regex":"x"}', '"truncate_prompt_tokens":5',
     '"guided_json":{"type":"object"}', '"guided_choice":["a","b"]', '"best_of":2'],
)  # fmt: skip
def test_requests_that_are_more_than_text_are_not_resumed(field: str) -> None:
    """Requests with grammars, tools, log-probabilities or several choices are not resumed, as text would be wrong."""
    assert may_be_resumed(b'{"messages":[{"role":"user","content":"a"}],%s}' % field.encode(), _sent("x", 1)) is None


def test_empty_fields_do_not_stop_resuming() -> None:
    """What says nothing, such as no tools or the format `text`, is as if it were not there."""
    body = {"messages": [USER], "tools": [], "n": 1, "logprobs": False, "response_format": {"type": "text"}}
    assert _asked(CHAT, body, _sent("x", 1))["continue_final_message"] is True


def test_nothing_sent_yet_asks_the_same_again() -> None:
    """Before any text was sent, the body to resume with is the client's own."""
    body = b'{ "messages": [] }'
    assert continuation_body(CHAT, body, _sent("", 0)) == body


def test_a_stop_string_begun_is_continued_by_nobody() -> None:
    """Where the engine sends stop strings, the beginning of one may have been sent, which another does not know."""
    body = {"messages": [USER], "stop": ["END", "x"], "include_stop_str_in_output": True, "max_tokens": 9}
    assert _asked(CHAT, body, _sent("the EN", 3)) is None
    assert _asked(CHAT, body, _sent("the E n", 3))["max_tokens"] == 6


def test_an_answer_that_had_its_tokens_is_not_continued() -> None:
    """Its limit is used up, so only the stream's end is missing."""
    body = json.dumps({"messages": [USER], "max_tokens": 3}).encode()
    assert continuation_body(CHAT, body, _sent("one two three", 3)) == b""


def test_limits_stay_numbers_for_the_last_token() -> None:
    """With one token left it is `1`, not JSON's `true`, which engines refuse."""
    body = json.dumps({"messages": [USER], "max_tokens": 3, "max_completion_tokens": 3, "min_tokens": 2}).encode()
    written = continuation_body(CHAT, body, _sent("one two", 2)) or b""
    assert b'"max_tokens":1,"max_completion_tokens":1,"min_tokens":0' in written
