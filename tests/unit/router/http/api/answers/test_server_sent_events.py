"""Events are found as the standard writes them: any line end, comments, names, data of several lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.api.answers.server_sent_events import data_of, ends_event, split_events
from router.http.wire.chunked import chunk


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b"\r"])
def test_any_line_end_ends_an_event(line: bytes) -> None:
    """LF, CRLF and CR end lines; an empty line ends the event; an unfinished one is left over."""
    text = line.join((b"event: a", b'data: {"x":', b"data:1}", b"", b": ping", b"", b"data:[DONE]", b"", b"data: {"))
    events, rest = split_events(text)
    assert [data_of(event) for event in events] == [b'{"x":\n1}', b"", b"[DONE]"]
    assert rest == b"data: {"


@given(st.integers(1, 9))
def test_it_does_not_matter_where_the_text_is_cut(size: int) -> None:
    """Events come out the same in pieces of any size."""
    text = b"data: one\r\n\r\ndata: two\r\n\r\n: c\n\ndata: three\n\n"
    whole, rest = split_events(text)
    found = []
    start = b""
    for at in range(0, len(text), size):
        events, start = split_events(start + text[at : at + size])
        found += events
    assert ([data_of(event) for event in found], start) == ([data_of(event) for event in whole], rest)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_the_end_of_an_event_is_seen_through_chunks(end: bytes) -> None:
    """A stream can be added to between two events, and not within one."""
    assert ends_event(b"", chunked=True)
    assert ends_event(chunk(b"data: 1" + end), chunked=True)
    assert ends_event(b"data: 1" + end, chunked=False)
    assert not ends_event(chunk(b"data: 1"), chunked=True)
    assert not ends_event(chunk(b"data: 1\n"), chunked=True)
    assert not ends_event(b"data: 1\r\n", chunked=False)


def test_an_empty_line_in_a_chunk_of_its_own_ends_the_event() -> None:
    """Some servers write line by line."""
    assert ends_event(chunk(b"data: 1\n") + chunk(b"\n"), chunked=True)
    assert ends_event(chunk(b"data: 1\r\n") + chunk(b"\r\n"), chunked=True)
    assert not ends_event(chunk(b"data: 1") + chunk(b"\n"), chunked=True)
