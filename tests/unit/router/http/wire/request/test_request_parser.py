"""Requests are parsed the same wherever reads cut them, and none becomes two."""

import gzip
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.spec.gateway_spec import GatewaySpec
from router.http.wire.chunked import LAST_CHUNK, chunk
from router.http.wire.request.incoming import EncodedRequest, IncomingRequest, RefusedRequest
from router.http.wire.request.phase import Phase
from router.http.wire.request.request_parser import RequestParser
from router.outcome import Outcome

CHAT = b"/v1/chat/completions"
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"


def _post(body: bytes = b"{}", headers: bytes = b"", *, target: bytes = CHAT, version: bytes = b"1.1") -> bytes:
    return b"POST %s HTTP/%s\r\nhost: t\r\n%scontent-length: %d\r\n\r\n%s" % (target, version, headers, len(body), body)


def _post_chunked(*parts: bytes, headers: bytes = b"", trailer: bytes = b"") -> bytes:
    framed = b"".join(map(chunk, parts)) + b"0\r\n" + trailer + b"\r\n"
    return b"POST %s HTTP/1.1\r\nhost: t\r\n%s%s\r\n%s" % (CHAT, headers, CHUNKED, framed)


def _parse(raw: bytes, cuts: Sequence[int] = (), **limits: int) -> RequestParser:
    parser = RequestParser(GatewaySpec.model_validate(limits))
    edges = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    for start, stop in pairwise(edges):
        if start < stop:
            parser.feed(raw[start:stop])
        if any(isinstance(item, RefusedRequest) for item in parser.queue):
            break
    return parser


def _one(raw: bytes, **limits: int) -> IncomingRequest:
    (request,) = _parse(raw, (), **limits).queue
    assert isinstance(request, IncomingRequest), request
    return request


def _refusal(raw: bytes, cuts: Sequence[int] = (), **limits: int) -> RefusedRequest:
    refused = _parse(raw, cuts, **limits).queue[-1]
    assert isinstance(refused, RefusedRequest), refused
    return refused


REQUESTS = [
    _post(b'{"a":1}'),
    _post(b'{"b":2}', H2C),
    _post(b"", H2C),
    _post(b"x" * 70_000, b"accept: a\r\naccept: b\r\n"),
    _post_chunked(b"ab", b"c"),
    _post_chunked(b"de", headers=H2C, trailer=b"authorization: Bearer stolen\r\n"),
    _post(b"\xef\xbb\xbf{}", target=b"http://t/v1/x/"),
    b"GET /health HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: TLS/1.0\r\n\r\n",
    b"\r\n\r\nGET /health HTTP/1.1\r\nhost: t\r\n\r\n",
]


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4), st.lists(st.integers(0, 300_000), max_size=20))
def test_cuts_and_neighbours_change_nothing(raws: list[bytes], cuts: list[int]) -> None:
    """Requests that come together, cut anywhere, are those that come each alone."""
    parsed = _parse(b"".join(raws), cuts)
    assert list(parsed.queue) == [_one(raw) for raw in raws]
    assert parsed.phase is Phase.IDLE


@pytest.mark.parametrize("upgrade", [H2C, b"connection: upgrade\r\nupgrade: websocket\r\n", b"upgrade: h2c\r\n"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_wish_to_change_the_protocol_is_ignored(upgrade: bytes, version: bytes) -> None:
    """The request is as any other, body and all (RFC 9110, section 7.8)."""
    request = _one(_post(b'{"a":1}', upgrade, version=version))
    assert (request.method, request.path, request.body, request.upgrades) == (b"POST", CHAT, b'{"a":1}', False)
    assert request.keep_alive is (version == b"1.1")
    request = _one(_post(b'{"a":1}', b"connection: close\r\n" + upgrade, version=version))
    assert (request.body, request.keep_alive) == (b'{"a":1}', False)


def test_thousands_of_such_wishes_come_in_one_read() -> None:
    """They are read one after the other, not one inside the other."""
    assert len(_parse(_post(b"{}", H2C) * 3000).queue) == 3000


@pytest.mark.parametrize("line", [b"a:\r\n", b"accept: a\r\n", b"tracestate: a=b\r\n"])
def test_header_lines_are_bounded(line: bytes) -> None:
    """However short they are, and also where lines of one name are joined; a trailer's lines count as well."""
    many = line * 300
    assert _refusal(_post(headers=many)).outcome is Outcome.HEADER_TOO_LARGE
    assert _refusal(_post_chunked(b"{}", trailer=many)).outcome is Outcome.HEADER_TOO_LARGE
    assert _one(_post(headers=line * 200)).body == b"{}"


def test_tiny_chunks_take_no_more_memory_than_their_bytes() -> None:
    """Each read leaves few pieces, and the body is what was sent."""
    raw = _post_chunked(*([b"ab"] * 20_000))
    parser, most = RequestParser(GatewaySpec()), 0
    for start in range(0, len(raw), 700):
        parser.feed(raw[start : start + 700])
        most = max(most, len(parser.body.pieces))
    assert most <= 65
    (request,) = parser.queue
    assert isinstance(request, IncomingRequest)
    assert request.body == b"ab" * 20_000


def test_a_head_is_told_of_while_its_body_is_to_come() -> None:
    """Once, with all that the head says; the request is the same object when its body has come."""
    raw = _post(b'{"a":1}', target=b"//v1/completions/")
    parser = _parse(raw[:-3])
    begun = parser.take_begun()
    assert begun is not None
    assert (begun.path, begun.body, begun.keep_alive) == (b"/v1/completions", b"", True)
    assert parser.take_begun() is None
    parser.feed(raw[-3:])
    assert parser.queue.popleft() is begun
    assert begun == _one(raw)
    for whole in (b"", raw, raw[:30]):
        assert _parse(whole).take_begun() is None


def test_a_websocket_is_asked_for_where_there_is_one() -> None:
    """What follows the request is the WebSocket's; a key among the subprotocols is not shown to the replica."""
    head = (
        b"GET /v1/realtime?model=m HTTP/1.1\r\nhost: t\r\nconnection: Upgrade\r\nUpgrade: WebSocket\r\n"
        b"sec-websocket-protocol: realtime, openai-insecure-api-key.secret\r\n\r\n"
    )
    parser = _parse(head + b"frames")
    (request,) = parser.queue
    assert isinstance(request, IncomingRequest)
    assert request.upgrades
    assert (request.path, request.query, parser.after_upgrade) == (b"/v1/realtime", b"model=m", b"frames")
    assert request.headers[b"authorization"] == b"Bearer secret"
    assert request.headers[b"sec-websocket-protocol"] == b"realtime"


def test_trailers_are_no_headers() -> None:
    """What comes after the body says nothing about the request."""
    trailer = b"authorization: Bearer stolen\r\ncontent-type: text/plain\r\nx-priority: high\r\n"
    request = _one(_post_chunked(b"{}", headers=b"content-type: application/json\r\n", trailer=trailer))
    assert request.headers == {
        b"host": b"t",
        b"content-type": b"application/json",
        b"transfer-encoding": b"chunked",
    }


@pytest.mark.parametrize(
    ("lines", "name", "value"),
    [
        (b"accept: a\r\nAccept: b, c\r\n", b"accept", b"a, b, c"),
        (b"tracestate: a=1\r\ntracestate:\r\ntracestate: b=2\r\n", b"tracestate", b"a=1, b=2"),
        (b"anthropic-beta: x\r\nanthropic-beta: y\r\n", b"anthropic-beta", b"x, y"),
        (b"traceparent: 00-a\r\ntraceparent: 00-b\r\n", b"traceparent", b""),
        (b"traceparent: 00-a\r\ntraceparent: 00-b\r\ntraceparent: 00-b\r\n", b"traceparent", b""),
        (b"traceparent: 00-a\r\ntraceparent: 00-a\r\n", b"traceparent", b"00-a"),
        (b"x-request-id: mine\r\nx-request-id: proxy\r\n", b"x-request-id", b"mine"),
        (b"content-type: a/b\r\ncontent-type: a/b\r\n", b"content-type", b"a/b"),
        (b"x-session-id: s\r\nx-session-id: s\r\n", b"x-session-id", b"s"),
    ],
)
def test_lines_of_one_name_are_one_value(lines: bytes, name: bytes, value: bytes) -> None:
    """Lists are joined, equal lines count once, and a traceparent that is said twice is ignored."""
    assert _one(_post(headers=lines)).headers[name] == value


@pytest.mark.parametrize(
    "lines",
    [
        b"host: t\r\n",
        b"authorization: Bearer a\r\nauthorization: Bearer a\r\n",
        b"x-api-key: a\r\nx-api-key: b\r\n",
        b"content-type: a/b\r\ncontent-type: a/c\r\n",
        b"x-priority: low\r\nx-priority: high\r\n",
        b"content-length: 2\r\n",
        CHUNKED,
        b"transfer-encoding: gzip, chunked\r\n",
    ],
)
def test_lines_that_contradict_each_other_are_refused(lines: bytes) -> None:
    """Nobody can make one request mean one thing here and another one behind."""
    refused = _refusal(_post(headers=lines))
    assert refused.outcome is Outcome.BAD_REQUEST
    assert refused.message


@pytest.mark.parametrize("cut", [0, 20, 60, 66, 67, 68, 69, 75])
@pytest.mark.parametrize("size", [b"1001", b"ffffffff", b"ffffffffffffffffffff", b"1001;name=value"])
def test_a_chunk_longer_than_a_body_may_be_is_refused_before_it_comes(size: bytes, cut: int) -> None:
    """Its size is enough, wherever reads cut the head."""
    raw = b"POST %s HTTP/1.1\r\nhost: t\r\n%s\r\n" % (CHAT, CHUNKED) + size + b"\r\nx"
    assert _refusal(raw, [cut], max_body_bytes=4096).outcome is Outcome.BODY_TOO_LARGE
    assert _refusal(b"\r\n" + raw, [cut], max_body_bytes=4096).outcome is Outcome.BODY_TOO_LARGE


def test_chunks_that_are_too_long_together_are_refused_before_the_last_comes() -> None:
    """What came counts with what is announced; a body of just the limit passes."""
    assert _one(_post_chunked(b"x" * 4000, b"y" * 96), max_body_bytes=4096).body == b"x" * 4000 + b"y" * 96
    raw = _post_chunked(b"x" * 4000, b"y" * 97)
    at = raw.index(b"61\r\ny") + 5
    assert _refusal(raw[:at], [at - 50], max_body_bytes=4096).outcome is Outcome.BODY_TOO_LARGE


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /%s" % (b"x" * 5000),
        b"GET / HTTP/1.1\r\nhost: %s" % (b"x" * 5000),
        b"POST / HTTP/1.1\r\nhost: t\r\n%s\r\n1;%s" % (CHUNKED, b"x" * 5000),
        b"POST / HTTP/1.1\r\nhost: t\r\n%s\r\n0\r\nx-a: %s" % (CHUNKED, b"x" * 5000),
    ],
)
def test_heads_extensions_and_trailers_without_end_are_refused(endless: bytes) -> None:
    """Whatever is no body is bounded by the limit on heads."""
    cuts = list(range(0, len(endless), 500))
    assert _refusal(endless, cuts, max_header_bytes=2048).outcome is Outcome.HEADER_TOO_LARGE


def test_compressed_bodies_wait_to_be_decoded() -> None:
    """Plain and chunked ones; a coding that is not understood is refused before the body comes."""
    packed = gzip.compress(b"{}")
    gzipped = b"content-encoding: gzip\r\n"
    for raw in (_post(packed, gzipped), _post_chunked(packed, headers=gzipped)):
        (item,) = _parse(raw).queue
        assert isinstance(item, EncodedRequest)
        assert (item.decoder.step(), item.decoder.step()) == (None, b"{}")
    assert _one(_post(b"", gzipped)).body == b""
    refused = _refusal(_post(headers=b"content-encoding: br\r\n").removesuffix(b"{}"))
    assert refused.outcome is Outcome.UNSUPPORTED_ENCODING
    assert refused.headers == b"accept-encoding: gzip, deflate\r\n"


@pytest.mark.parametrize(
    ("version", "asks"),
    [(b"1.1", True), (b"1.0", False)],
)
def test_only_http_1_1_waits_for_100_continue(version: bytes, asks: bool) -> None:  # noqa: FBT001 - a table
    """HTTP/1.0 cannot mean it (RFC 9110, section 10.1.1), and nobody is told to go on who has."""
    raw = _post(headers=b"expect: 100-Continue\r\n", version=version)
    assert _parse(raw.removesuffix(b"{}")).wants_continue is asks
    assert not _parse(raw).wants_continue


@pytest.mark.parametrize(
    "raw",
    [
        b"get /health HTTP/1.1\r\nhost: t\r\n\r\n",
        b"GET /health HTTP/1.1\nhost: t\n\n",
        b"GET /health HTTP/1.1\r\nhost: t\n\r\n",
        b"GET /health HTTP/2.0\r\nhost: t\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost : t\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: t\r\nx-a: 1\r\n folded\r\n\r\n",
        b"GET /hea\0lth HTTP/1.1\r\nhost: t\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: t\r\nx-a: \0\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"CONNECT t:443 HTTP/1.1\r\nhost: t:443\r\n\r\n",
        b"POST /v1/x HTTP/1.0\r\n%s\r\n0\r\n\r\n" % CHUNKED,
        b"POST /v1/x HTTP/1.1\r\nhost: t\r\ncontent-length: 99999999999999999999\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    """A clear 400, whose message is no empty word."""
    refused = _refusal(raw)
    assert refused.outcome is Outcome.BAD_REQUEST
    assert len(refused.message) > 10


@pytest.mark.timeout(60)
@pytest.mark.parametrize("target", [b"//:80", b"//t:443", b"http://t:443", b"//:{"])
@pytest.mark.parametrize("version", [b"0.9", b"1.0", b"1.1"])
def test_no_tunnel_is_made_to_what_reads_as_a_path(target: bytes, version: bytes) -> None:
    """The parser stops after a CONNECT as after a wish for another protocol: its head must not be read again."""
    refused = _refusal(b"CONNECT %s HTTP/%s\r\nhost: t\r\n\r\n" % (target, version))
    assert refused.outcome is Outcome.BAD_REQUEST
    assert "CONNECT" in refused.message


def test_a_refusal_of_head_is_answered_without_a_body() -> None:
    """The client of a HEAD request takes what follows the head for the next answer."""
    assert _refusal(b"HEAD /health HTTP/1.1\r\n\r\n").head_only
    assert not _refusal(b"GET /health HTTP/1.1\r\n\r\n").head_only


def test_old_versions_are_known() -> None:
    """HTTP/1.0 needs no host, and keeps its connection only where it asks for it."""
    request = _one(b"GET /health HTTP/1.0\r\n\r\n")
    assert (request.http_1_0, request.keep_alive) == (True, False)
    request = _one(b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    assert (request.http_1_0, request.keep_alive) == (True, True)


def test_chunks_are_joined() -> None:
    """A chunked body is its chunks' contents."""
    raw = b"POST %s HTTP/1.1\r\nhost: t\r\n%s\r\n" % (CHAT, CHUNKED) + chunk(b'{"a":') + chunk(b"1}") + LAST_CHUNK
    assert _one(raw).body == b'{"a":1}'
