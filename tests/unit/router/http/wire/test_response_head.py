"""Heads of replicas' answers are parsed, and broken ones refused."""

import pytest

from router.http.wire.response_head import CHUNKED, UNTIL_CLOSE, HeadError, parse_head


def test_headers_of_the_connection_stay_behind() -> None:
    """Hop-by-hop headers are not passed on; the others are, unchanged and in order."""
    head = parse_head(
        b"HTTP/1.1 200 OK\r\ndate: now\r\nServer: uvicorn\r\nConnection: keep-alive\r\n"
        b"X-Odd:  kept \r\ncontent-length: 3",
        to_head_request=False,
    )
    assert head.lines == b"HTTP/1.1 200 OK\r\ndate: now\r\nX-Odd:  kept \r\ncontent-length: 3\r\n"
    assert (head.status, head.length, head.keep_alive) == (200, 3, True)


@pytest.mark.parametrize(
    ("head", "length", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", CHUNKED, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nconnection: close", CHUNKED, False),
        (b"HTTP/1.1 200 OK", UNTIL_CLOSE, False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0", 0, False),
        (b"HTTP/1.1 204 No Content", 0, True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10", 0, True),
    ],
)
def test_how_the_body_ends(head: bytes, length: int, keep_alive: bool) -> None:  # noqa: FBT001 - a table
    """The body's length is read as RFC 9112 section 6.3 says."""
    parsed = parse_head(head, to_head_request=False)
    assert (parsed.length, parsed.keep_alive) == (length, keep_alive)


def test_an_answer_to_head_has_no_body() -> None:
    """An answer to HEAD has no body, even with a content-length."""
    assert parse_head(b"HTTP/1.1 200 OK\r\ncontent-length: 10", to_head_request=True).length == 0


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"SSH-2.0-OpenSSH",
        b"HTTP/2 200",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n folded: line",
        b"HTTP/1.1 200 OK\r\nspace : before colon",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
    ],
)
def test_broken_or_ambiguous_heads_are_errors(head: bytes) -> None:
    """A malformed head, or one whose body could end in two ways, is an error."""
    with pytest.raises(HeadError):
        parse_head(head, to_head_request=False)
