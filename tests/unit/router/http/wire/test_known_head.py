"""A head that a server has sent before is read without parsing it, and is what parsing would give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.wire.known_head import KnownHead
from router.http.wire.response_head import HeadError, ResponseHead, parse_head

HEADS = [
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: %s\r\ncontent-type: application/json",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %s",
    b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\nconnection: close",
    b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\ncontent-encoding: GZIP\r\nx-rackserve-retry: 1",
    b"HTTP/1.1 200 OK\r\nx: 1\r\nconnection: x, content-length\r\ncontent-length: %s",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: %s",
    b"HTTP/1.1 200 OK\r\nx-a: one\r\n\t two\r\ncontent-length: %s",
    b"HTTP/1.1 200 OK\r\ncontent-length: %s\r\ntransfer-encoding: chunked",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: %s",
    b"HTTP/1.1 200 OK\r\nx: %s",
    b"HTTP/1.0 200 OK\r\ncontent-length: %s",
    b"HTTP/1.1 204 No Content\r\ncontent-length: %s",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: %s",
    b"HTTP/1.1 103 Early Hints\r\ncontent-length: %s",
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: %s",
]
NUMBERS = [b"0", b"7", b"12", b"12345", b"007", b"", b"x", b"+1", b"3", b"3\r\nx-b: 2", b"3 ", b"9" * 30]


def _fields(head: ResponseHead) -> list[object]:
    return [
        head.status,
        head.is_error,
        head.lines,
        head.length,
        head.keep_alive,
        head.retry_elsewhere,
        head.is_events,
        head.coding,
    ]


@given(
    usual=st.sampled_from(HEADS),
    sent=st.lists(
        st.tuples(st.sampled_from([*HEADS, *[None] * 40]), st.sampled_from(NUMBERS), st.integers(0, 9)), max_size=12
    ),
)
def test_every_head_reads_as_if_it_were_the_first(usual: bytes, sent: list[tuple[bytes | None, bytes, int]]) -> None:
    """Whatever the server sent before, with other lengths and more headers, and whatever was asked."""
    known = KnownHead()
    for other, number, asked in sent:
        head = (other or usual) % number
        to_head_request = not asked
        try:
            right = _fields(parse_head(head, to_head_request=to_head_request))
        except HeadError:
            with pytest.raises(HeadError):
                known.read(head + b"\r\n\r\n", to_head_request=to_head_request)
        else:
            assert _fields(known.read(head + b"\r\n\r\n", to_head_request=to_head_request)) == right


def test_a_server_whose_heads_differ_at_first_is_known_later() -> None:
    """So one of which the first heads were special is not parsed for ever."""
    known = KnownHead()
    for number in range(100):
        known.read(b"HTTP/1.1 200 OK\r\nx: %d\r\ncontent-length: 3\r\n\r\n" % number, to_head_request=False)
    same = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    read = [known.read(same, to_head_request=False) for _ in range(40)]
    assert read[-1] is read[-2]
