"""A stream that is cut anywhere goes on elsewhere as if it had not been: words, ends, limits, stop strings and usage.

The engine here is as strict as one can be: what it says depends on the tokens so far, so that a text that ends within a
token, and is read into other tokens than it was written in, goes on in other words.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.api.answers.resume import CHAT, COMPLETIONS, continuation_body
from router.http.api.answers.resumed_stream import ResumedStream, UsageAsked, ending
from router.http.api.answers.sent_text import FROM_START_CHARS, SentText
from router.http.wire.chunked import chunk, payload

TEXT: Final = (
    "The river's unhurried meandering, undisturbed, remembered 1234567 things;  it   went on\n\nand on, "
    "understandably: through überwältigende towns ... and 東京, until the millwheels (two of them) stopped. Then\n it"
)
PROMPT: Final = "Tell me of rivers "
_TOKEN: Final = re.compile(r"\s?\w{1,3}|\s+|[^\w\s]{1,2}")
"""Tokens: a few letters with the space before them, spaces, or a few other characters. The beginning of a text that
ends with a token has the same tokens, as with byte-pair encoding."""
TOKENS: Final = _TOKEN.findall(TEXT)
OTHER_WORDS: Final = "## other words "


@dataclass
class Engine:
    """Says `TEXT` greedily as vLLM does: it stops, holds text back, and tells its usage with each event.

    Attributes:
        path: the path it answers.
        tokens_an_event: tokens of each event, in turn.
        tells_usage: it tells its usage with each event.
        strips: its chat template strips the message that is to be continued.
        sampled: how many tokens it has sampled.
    """

    path: str
    tokens_an_event: tuple[int, ...] = (1,)
    tells_usage: bool = True
    strips: bool = False
    sampled: int = 0
    begun: list[str] = field(default_factory=list)

    def _begun(self, asked: dict[str, Any]) -> str:
        if self.path == COMPLETIONS:
            assert asked["prompt"].startswith(PROMPT)
            return str(asked["prompt"].removeprefix(PROMPT))
        if not asked.get("continue_final_message"):
            return ""
        begun = str(asked["messages"][-1]["content"])
        return begun.strip() if self.strips else begun

    def stream(self, body: bytes) -> Iterator[bytes]:
        """Yield the events of an answer, each with its empty line."""
        asked = json.loads(body)
        begun = self._begun(asked)
        self.begun.append(begun)
        read = _TOKEN.findall(begun)
        # The prompt's last space and the first word are read as one token, where the engine had written two.
        joined = self.path == COMPLETIONS and len(read) == 1
        goes_on = read == TOKENS[: len(read)] and not joined
        to_say = TOKENS[len(read) :] if goes_on else _TOKEN.findall(OTHER_WORDS * 20)
        stops = asked.get("stop") or ()
        keeps = bool(asked.get("include_stop_str_in_output"))
        held = max((len(stop) - 1 for stop in stops), default=0) * (not keeps)
        prompt = 7 + len(read)
        text, shown, tokens, finish = "", 0, 0, None
        sizes = iter(self.tokens_an_event * len(TEXT))
        while finish is None:
            for _ in range(next(sizes)):
                if tokens == len(to_say):
                    tokens, finish = tokens + 1, "stop"  # the end of an answer is a token, too
                    break
                before = len(text)
                text, tokens = text + to_say[tokens], tokens + 1
                self.sampled += 1
                places = ((stop, text.find(stop, max(0, before - len(stop) + 1))) for stop in stops)
                found = [(at + len(stop), at) for stop, at in places if at >= 0]
                if found and tokens > asked.get("min_tokens", 0):
                    end, at = min(found)
                    text, finish = text[: end if keeps else at], "stop"
                elif tokens >= asked["max_tokens"]:
                    finish = "length"
                if finish:
                    break
            showable = len(text) if finish else max(shown, len(text) - held)
            yield self._event(text[shown:showable], finish, prompt, tokens)
            shown = showable
        told = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        yield b"data: " + json.dumps({"id": "x", "created": 1, "choices": [], "usage": told}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    def _event(self, piece: str, finish: str | None, prompt: int, tokens: int) -> bytes:
        shape: dict[str, Any] = {"text": piece} if self.path == COMPLETIONS else {"delta": {"content": piece}}
        event: dict[str, Any] = {"id": "x", "created": 1, "choices": [{"index": 0, **shape, "finish_reason": finish}]}
        if self.tells_usage:
            event["usage"] = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        return b"data: " + json.dumps(event).encode() + b"\n\n"


@dataclass
class Seen:
    """What a client has seen."""

    text: str = ""
    finish: str | None = None
    usage: dict[str, int] | None = None
    is_done: bool = False
    broken: bool = False

    def take(self, events: bytes) -> None:
        """Take whole events."""
        for event in events.split(b"\n\n")[:-1]:
            assert not self.is_done
            data = event.removeprefix(b"data: ")
            if data == b"[DONE]":
                self.is_done = True
                continue
            read = json.loads(data)
            for choice in read["choices"]:
                assert self.finish is None
                self.text += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                self.finish = choice["finish_reason"]
            self.usage = read.get("usage") if not read["choices"] else self.usage


def _through_cuts(engine: Engine, asked: dict[str, Any], cuts: list[int]) -> Seen:
    """Return what the client sees of a stream that is cut after so many events, once for each of `cuts`."""
    client, body = json.dumps(asked).encode(), json.dumps(asked).encode()
    sent, seen, usage_asked = SentText(), Seen(), UsageAsked(last=True)
    resumed: ResumedStream | None = None
    to_come = list(cuts)
    while True:
        cut = to_come.pop(0) if to_come else -1
        differed = False
        for number, event in enumerate(engine.stream(body)):
            if number == cut:
                break
            if resumed is None:
                sent.keep(chunk(event))
                seen.take(event)
                continue
            seen.take(payload(resumed.feed(chunk(event))))
            if resumed.strayed:
                assert resumed.differs
                differed = True
                break
        else:
            return seen
        sent.fold()
        assert sent.text == seen.text
        if sent.finished:
            seen.take(ending(engine.path, sent, usage_asked, finish_reason=None))
            return seen
        going_on = continuation_body(engine.path, client, sent)
        if going_on is None:
            seen.broken = True
            return seen
        assert going_on, "the engine ends an answer that has had its tokens"
        assert not (differed and sent.to_repeat), "asked once more to repeat what it does not"
        body, resumed = going_on, ResumedStream(sent, usage_asked)


def _asked(path: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    prompt = {"prompt": PROMPT} if path == COMPLETIONS else {"messages": [{"role": "user", "content": "Tell me"}]}
    return {**prompt, "max_tokens": 500, "temperature": 0, **fields}


STOPS: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "a character": {"stop": ["("]},
    "never said": {"stop": ["this is never said, and long"]},
    "a part of the text": {"stop": ["never said here", " millwheels (tw"]},
    "begun often": {"stop": [" it   went on\n\nand on, un"]},
    "kept": {"stop": ["on\n\nand on, understand"], "include_stop_str_in_output": True},
    "none before": {"stop": ["river's un", "until the mill"], "min_tokens": 20},
    "a limit": {"stop": ["never said"], "max_tokens": 41},
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("tokens_an_event", [(1,), (1, 4, 2)])
@pytest.mark.parametrize("stop", STOPS)
def test_a_cut_after_any_event_changes_nothing(path: str, tokens_an_event: tuple[int, ...], stop: str) -> None:
    """One cut after each event, two or three soon after one another: text, end and usage are one engine's."""
    asked = _asked(path, **STOPS[stop])
    right = _through_cuts(Engine(path, tokens_an_event), asked, [])
    assert right.is_done
    for first in range(1, len(TOKENS)):
        for cuts in ([first], [first, 1] if first % 2 else [first, 2, 3]):
            engine = Engine(path, tokens_an_event, strips=path == CHAT)
            assert _through_cuts(engine, asked, cuts) == right, (cuts, engine.begun)


@given(
    st.sampled_from([CHAT, COMPLETIONS]),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(st.integers(1, 60), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(1, 40)), max_size=4),
    st.integers(1, 90),
    st.integers(0, 60),
    st.booleans(),
)
def test_cuts_change_nothing(  # noqa: PLR0913, PLR0917 - all that is drawn
    path: str,
    tokens_an_event: list[int],
    cuts: list[int],
    stops: list[tuple[int, int]],
    max_tokens: int,
    min_tokens: int,
    keeps_stop: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever stops, limits and cuts there are; no more than a stop string and an event are generated once more."""
    asked = _asked(
        path,
        stop=[TEXT[at : at + length] for at, length in stops],
        max_tokens=max_tokens,
        min_tokens=min(min_tokens, max_tokens),
        include_stop_str_in_output=keeps_stop,
    )
    alone, engine = (Engine(path, tuple(tokens_an_event)) for _ in range(2))
    right = _through_cuts(alone, asked, [])
    assert _through_cuts(engine, asked, cuts) == right
    repeated = max((length for _, length in stops), default=0) + 2 * max(tokens_an_event) + FROM_START_CHARS
    assert engine.sampled - alone.sampled <= len(cuts) * repeated
    for begun, more in pairwise(engine.begun):
        assert more.startswith(begun)
    assert all(_TOKEN.findall(begun) == TOKENS[: len(_TOKEN.findall(begun))] for begun in engine.begun)
