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
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 20",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1 999 OK",
        b"HTTP/1.1 200 OK\r\n : no name",
        b"HTTP/1.1 200 OK\r\nx-a: 1\nx-b: 2",
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


def test_folded_lines_and_spaces_before_colons_are_mended() -> None:
    """What RFC 9112 (5.1, 5.2) forbids in an answer, and lets a proxy mend, reaches the client mended."""
    head = parse_head(b"HTTP/1.1 200 OK\r\nx-a: one\r\n\t two\r\nContent-Length : 3", to_head_request=False)
    assert head.lines == b"HTTP/1.1 200 OK\r\nx-a: one two\r\nContent-Length: 3\r\n"
    assert head.length == 3


def test_headers_that_connection_names_stay_behind() -> None:
    """They are about the connection to the replica; what frames the body cannot be named away."""
    head = parse_head(
        b"HTTP/1.1 200 OK\r\nX-Hop: 1\r\nconnection: x-hop, Content-Length\r\nx-kept: 2\r\ncontent-length: 3\r\n"
        b"Connection: close",
        to_head_request=False,
    )
    assert head.lines == b"HTTP/1.1 200 OK\r\nx-kept: 2\r\ncontent-length: 3\r\n"
    assert (head.length, head.keep_alive) == (3, False)


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        (b"location: http://10.0.0.7:8000/v1/models?a=1#b", b"location: /v1/models?a=1#b"),
        (b"Location: HTTPS://replica", b"Location: /"),
        (b"Location: //10.0.0.7//v1/models", b"Location: /v1/models"),
        (b"location: /v1/models", b"location: /v1/models"),
        (b"location: models", b"location: models"),
        (b"content-location: http://10.0.0.7/a", b"content-location: /a"),
        (b"location: ftp://10.0.0.7/a", None),
        (b'alt-svc: h3="10.0.0.7:443"', None),
        (b"refresh: 0; url=http://10.0.0.7/", None),
        (b"Via: 1.1 replica-7.internal:8000 (nginx)", None),
        (b"link: <http://10.0.0.7/a>; rel=next", None),
        (b"link: </a>; rel=next", b"link: </a>; rel=next"),
    ],
)
def test_no_address_of_a_replica_reaches_a_client(sent: bytes, passed_on: bytes | None) -> None:
    """A client cannot reach replicas, and should not: it gets the path alone, or nothing."""
    lines = parse_head(b"HTTP/1.1 307 Temporary Redirect\r\n" + sent, to_head_request=False).lines.split(b"\r\n")
    assert lines[1:-1] == ([passed_on] if passed_on is not None else [])


def test_the_gateway_alone_says_which_origins_may_read() -> None:
    """A replica's own CORS headers would stand beside the gateway's."""
    head = parse_head(
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\naccess-control-expose-headers: a\r\n"
        b"X-Accel-Buffering: yes",
        to_head_request=False,
    )
    assert head.lines == b"HTTP/1.1 200 OK\r\n"


def test_a_length_said_twice_is_said_once() -> None:
    """Some clients refuse an answer with two lengths, even equal ones."""
    head = parse_head(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Length: 3", to_head_request=False)
    assert (head.lines, head.length) == (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", 3)


def test_an_answer_that_can_have_no_body_says_no_length() -> None:
    """204 with a framing would have clients wait for a body (RFC 9112, section 6.1)."""
    head = parse_head(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\nx-a: 1", to_head_request=False)
    assert (head.lines, head.length) == (b"HTTP/1.1 204 No Content\r\nx-a: 1\r\n", 0)


@pytest.mark.parametrize("kind", [b"text/event-stream", b" Text/Event-Stream; charset=utf-8"])
def test_events_are_known_by_their_type(kind: bytes) -> None:
    """The media type decides, in any case and with parameters."""
    assert parse_head(b"HTTP/1.1 200 OK\r\nContent-Type:" + kind, to_head_request=False).is_events
    assert not parse_head(b"HTTP/1.1 200 OK\r\nx-kind:" + kind, to_head_request=False).is_events
