"""A request whose head came before is read without parsing it, and is what the parser would have made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.spec.gateway_spec import GatewaySpec
from router.http.wire.request.incoming import EncodedRequest, IncomingRequest, RefusedRequest
from router.http.wire.request.phase import Phase
from router.http.wire.request.repeated_request import RepeatedRequests
from router.http.wire.request.request_parser import RequestParser
from router.outcome import Outcome

HEADS = [
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nauthorization: Bearer k\r\nContent-Length: %s\r\n\r\n",
    b"POST /v1/chat/completions?a=1 HTTP/1.1\r\nhost: t\r\ncontent-length:%s\r\nx-priority: low\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: %s\r\nconnection: close\r\n\r\n",
    b"POST /v1/completions HTTP/1.0\r\ncontent-length: %s\r\nconnection: keep-alive\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: %s\r\nexpect: 100-continue\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: %s\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\nx-content-length: 7\r\ncontent-length: %s\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 7\r\nx: content-length: %s\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\ncontent-length: %s\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: %s\r\ntransfer-encoding: chunked\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: %s\r\ncontent-encoding: gzip\r\n\r\n",
]
BODIES = [b"{}", b'{"a":1}', b"", b"\xef\xbb\xbf{}", b"x" * 1025, b"POST / HTTP/1.1\r\n\r\n"]
LENGTHS = [b"02", b"+2", b"2 ", b" 2", b"0x2", b"2,2", b"1", b"3", b"9" * 20, b"-2", b""]


@st.composite
def connections(draw: st.DrawFn) -> list[bytes]:
    """Draw what one client sends: mostly the same head, with its body's length or another one."""
    usual = draw(st.sampled_from(HEADS))
    reads = []
    for _ in range(draw(st.integers(1, 8))):
        head = draw(st.sampled_from([usual] * 6 + HEADS))
        body = draw(st.sampled_from(BODIES))
        reads.append(head % draw(st.sampled_from([b"%d" % len(body)] * 20 + LENGTHS)) + body)
    return reads


def _told(parser: RequestParser) -> list[object]:
    """Return what a parser has made, so that it can be compared."""
    told: list[object] = []
    for item in parser.queue:
        if isinstance(item, EncodedRequest):
            told.append(("encoded", item.request))
        else:
            told.append((item.outcome, item.path) if isinstance(item, RefusedRequest) else item)
    return told


@given(reads=connections())
def test_a_connection_reads_each_request_as_a_new_one_would(reads: list[bytes]) -> None:
    """Whatever came before, down to a number that is no length, a body that goes on, and one that is too long."""
    spec = GatewaySpec.model_validate({"max_body_bytes": 1024})
    parser = RequestParser(spec)
    for read in reads:
        fresh = RequestParser(spec)
        fresh.feed(read)
        parser.feed(read)
        assert _told(parser) == _told(fresh)
        assert (parser.phase, parser.headers) == (fresh.phase, fresh.headers)
        ends = [item.request if isinstance(item, EncodedRequest) else item for item in parser.queue]
        if parser.phase is not Phase.IDLE or parser.after_upgrade is not None:
            return  # what follows belongs to this request
        if any(isinstance(item, RefusedRequest) or not item.keep_alive for item in ends):
            return  # nothing follows
        parser.queue.clear()


def test_what_is_done_with_a_request_does_not_show_in_the_next() -> None:
    """Requests change on their way: a path is made normal, a body gets members."""
    parser = RequestParser(GatewaySpec())
    for number in range(10):
        body = b"x" * number
        parser.feed(HEADS[0] % b"%d" % len(body) + body)
        request = parser.queue.popleft()
        assert isinstance(request, IncomingRequest)
        assert (request.path, request.body) == (b"/v1/chat/completions", body)
        assert request.headers[b"content-length"] == b"%d" % number
        assert b"x-added" not in request.headers
        request.path = request.url = b"/other"
        request.headers[b"x-added"] = request.body = b"1"


@pytest.mark.parametrize("cut", [1, 40, 95, -1])
def test_a_request_that_comes_in_parts_is_parsed(cut: int) -> None:
    """Only a read that is one whole request is known by its head."""
    parser = RequestParser(GatewaySpec())
    whole = HEADS[0] % b"7" + b'{"a":1}'
    for _ in range(4):
        parser.feed(whole)
        parser.queue.clear()
    parser.feed(whole[:cut])
    assert not parser.queue
    parser.feed(whole[cut:] + whole)
    first, second = parser.queue
    assert first == second


def test_a_body_over_the_limit_is_refused_also_after_a_head_that_is_known() -> None:
    """The limit holds for each request."""
    parser = RequestParser(GatewaySpec.model_validate({"max_body_bytes": 1024}))
    for _ in range(4):
        parser.feed(HEADS[0] % b"2" + b"{}")
        parser.queue.clear()
    parser.feed(HEADS[0] % b"1025" + b"x" * 1025)
    (refused,) = parser.queue
    assert isinstance(refused, RefusedRequest)
    assert refused.outcome is Outcome.BODY_TOO_LARGE


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_a_body_is_decoded_also_after_empty_ones(coding: bytes) -> None:
    """An empty body needs no decoding, so the requests before it looked like any other."""
    parser = RequestParser(GatewaySpec())
    head = b"POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-encoding: %s\r\ncontent-length: %%s\r\n\r\n" % coding
    for _ in range(4):
        parser.feed(head % b"0")
        parser.queue.clear()
    parser.feed(head % b"2" + b"{}")
    (item,) = parser.queue
    assert isinstance(item, EncodedRequest)


def test_a_head_that_repeats_is_known_again_after_others() -> None:
    """Requests in between, of which a body came in parts or a head was another, do not end it."""
    repeated = RepeatedRequests()
    usual = [HEADS[0] % b"2" + b"{}", HEADS[0] % b"7" + b'{"a":1}']
    known = 0
    for number in range(40):
        if number % 4 == 3:
            repeated.parsed(b"}", [], is_whole=False)
            continue
        read = usual[number % 2]
        if repeated.request_in(read, 1024) is not None:
            known += 1
        else:
            parser = RequestParser(GatewaySpec())
            parser.feed(read)
            repeated.parsed(read, parser.queue, is_whole=True)
    assert known >= 18


def test_heads_that_always_differ_are_given_up() -> None:
    """Their client gains nothing by what is kept of them."""
    repeated = RepeatedRequests()
    for number in range(20):
        read = b"POST /v1/completions HTTP/1.1\r\nhost: t\r\nx: %d\r\ncontent-length: 2\r\n\r\n{}" % number
        assert repeated.request_in(read, 1024) is None
        parser = RequestParser(GatewaySpec())
        parser.feed(read)
        repeated.parsed(read, parser.queue, is_whole=True)
    assert repeated.request_in(read, 1024) is None
