"""A stream is passed on as it comes, up to the event in which its engine gives up."""

import json
from typing import Any

import pytest

from router.http.api.answers.sent_text import SentText
from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.exchange.passed_stream import MAX_HELD, PassedStream
from router.http.wire.chunked import LAST_CHUNK, chunk, payload


def _event(text: str, finish: str | None = None, **more: object) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    return b"data: " + json.dumps({"id": "c1", "choices": choices, **more}, separators=(",", ":")).encode() + b"\n\n"


def _told(text: str, tokens: int) -> bytes:
    return _event(text, usage={"prompt_tokens": 10, "completion_tokens": tokens})


ERROR = b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
DONE = b"data: [DONE]\n\n"


class _Client:
    """A client that reads the stream; the engine's giving up is `stops` or passed on."""

    def __init__(self, *, hides: bool = False, stops: bool = True) -> None:
        self.got = b""
        self.sent = SentText()
        self.gave_up = 0
        self.stops = stops
        self.passed = PassedStream(self._write, self.sent, self._give_up, hides=hides, with_last=False)
        self.sink = self.passed.begin(b"", b"")

    def _write(self, data: bytes) -> None:
        self.got += data

    def _give_up(self) -> bool:
        self.gave_up += 1
        return self.stops

    def read(self, framed: bytes, size: int) -> None:
        """Take the stream in reads of `size` bytes, until the engine gives up."""
        for at in range(0, len(framed), size):
            self.sink(framed[at : at + size])
            if self.gave_up and self.stops:
                return
        self.passed.flush()

    def events(self) -> list[Any]:
        """Return what the client has read."""
        data = [data_of(event) for event in split_events(payload(self.got))[0]]
        return [each if each == b"[DONE]" else json.loads(each) for each in data]

    def text(self) -> str:
        """Return the text of what the client has read."""
        events = [event for event in self.events() if event != b"[DONE]"]
        return "".join(choice["delta"]["content"] for event in events for choice in event.get("choices", ()))


def _framed(*texts: bytes) -> bytes:
    return b"".join(map(chunk, texts))


@pytest.mark.parametrize("size", [1, 7, 60, 100_000])
@pytest.mark.parametrize("give_up", [ERROR, ERROR.replace(b"\n", b"\r\n"), _event("", "abort")])
def test_nothing_of_the_event_in_which_an_engine_gives_up_is_sent(give_up: bytes, size: int) -> None:
    """The client has what came before, and no more.

    Reads may cut it anywhere where usage is hidden; other streams are looked at where a read holds its first word.
    """
    streams = [
        _framed(_event("one"), _event(" two"), give_up, DONE),
        _framed(_event("one") + _event(" two") + give_up + DONE),
        _framed(_event("one"), _event(" two") + give_up[:16], give_up[16:30], give_up[30:] + DONE),
    ]
    for framed in streams:
        if size == 1 and framed is streams[2]:
            continue
        for hides in (False, True):
            client = _Client(hides=hides)
            client.read(framed + LAST_CHUNK, size)
            if hides or size > 1000:
                assert (client.gave_up, client.text(), client.events()[-1].get("error")) == (1, "one two", None)
                client.sent.fold()
                assert (client.sent.text, client.sent.within_event) == ("one two", False)


def test_an_event_that_nobody_takes_over_is_passed_on() -> None:
    """Where no other replica can go on, the client is told what the engine said."""
    for hides in (False, True):
        client = _Client(hides=hides, stops=False)
        client.read(_framed(_event("one") + ERROR, DONE) + LAST_CHUNK, 100_000)
        assert client.events()[1]["error"]["code"] == 500
        assert client.got.endswith(LAST_CHUNK)


@pytest.mark.parametrize("size", [1, 50, 333, 100_000])
def test_told_usage_is_hidden_however_reads_cut_it(size: int) -> None:
    """The client sees no usage, and every word; the gateway has counted."""
    client = _Client(hides=True)
    words = ["one", ' "error" ', ' "abort"', "two", ' "usage":{}}']
    events = [_told(word, number + 1) for number, word in enumerate(words)]
    last = b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":9}}\n\n'
    client.read(_framed(*events[:3], events[3] + events[4], last, DONE) + LAST_CHUNK, size)
    assert client.text() == "".join(words)
    assert client.events()[-1] == b"[DONE]"
    assert not any(event.get("usage") for event in client.events()[:-1])
    assert client.got.endswith(LAST_CHUNK)
    assert client.sent.usage().completion_tokens == 9


def test_a_stream_without_told_usage_passes_byte_for_byte() -> None:
    """Bytes that hold nothing to act on are passed on unchanged, at once."""
    client = _Client()
    framed = _framed(b": ping\r\n\r\n", _event("one"), b"data: x") + LAST_CHUNK
    for at in range(0, len(framed), 5):
        client.sink(framed[at : at + 5])
        assert client.got == framed[: at + 5]


@pytest.mark.parametrize("hides", [False, True])
def test_a_head_and_the_bytes_that_came_with_it_are_one_write(hides: bool) -> None:  # noqa: FBT001 - parametrized
    """Unless these must be looked at: then the head does not wait for them, and they are not sent twice."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    for data, begins_with in (
        (b"", head),
        (chunk(_event("one")), head + chunk(_event("one"))),
        (chunk(_event('"error"')), head),
        (chunk(ERROR), head),
    ):
        writes: list[bytes] = []
        sent = SentText()
        passed = PassedStream(writes.append, sent, lambda: False, hides=hides, with_last=False)
        sink = passed.begin(head, data)
        sink(chunk(_event(" two")) + LAST_CHUNK)
        passed.flush()
        assert writes[0] == begins_with
        assert b"".join(writes) == head + data + chunk(_event(" two")) + LAST_CHUNK
        assert sent.rest() == data + chunk(_event(" two")) + LAST_CHUNK


def test_what_is_held_back_is_bounded() -> None:
    """An event without an end is passed on as it comes once it is too long to hold."""
    client = _Client(hides=True)
    framed = chunk(_event("x" * 2 * MAX_HELD)) + LAST_CHUNK
    for at in range(0, len(framed), 1000):
        client.sink(framed[at : at + 1000])
        assert at + 1000 - len(client.got) <= MAX_HELD + 1000
    client.passed.flush()
    assert client.got == framed
