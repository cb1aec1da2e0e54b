"""HTTP/1.1 from a stranger: the parser ends in requests or a refusal, the same however the bytes are split."""

from random import Random
from typing import Final

from cluster.spec.gateway_spec import GatewaySpec
from router.http.wire.request.incoming import EncodedRequest, IncomingRequest, RefusedRequest
from router.http.wire.request.request_parser import RequestParser
from tests.fuzz.target import Target

_SPEC: Final = GatewaySpec(max_body_bytes=2048, max_header_bytes=1024, max_incoming_bytes=4096)


def _parsed(pieces: list[bytes]) -> list[tuple[object, ...]]:
    """Return what a connection's bytes mean: each request, and the refusal that ends them, if one does."""
    parser = RequestParser(_SPEC)
    found: list[tuple[object, ...]] = []
    for piece in pieces:
        parser.feed(piece)
        while parser.queue:
            item = parser.queue.popleft()
            if isinstance(item, RefusedRequest):
                return [*found, ("refused", item.outcome)]
            request = item.request if isinstance(item, EncodedRequest) else item
            assert isinstance(request, IncomingRequest)
            assert len(request.body) <= _SPEC.max_body_bytes
            found.append((request.method, request.path, request.query, dict(request.headers), bytes(request.body)))
            if parser.after_upgrade is not None:
                return found
    return found


def check(data: bytes) -> None:
    """Parse in one piece and in several: no exception, the same requests, the same end."""
    whole = _parsed([data])
    rng = Random(len(data))
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    split = _parsed([piece for piece in pieces if piece])
    if [item for item in (whole, split) if item and item[-1][0] == "refused"]:
        # A refusal may come with a piece or with the one before; what was whole until then is the same.
        ours, theirs = ([item for item in each if item[0] != "refused"] for each in (whole, split))
        shorter = min(len(ours), len(theirs))
        assert ours[:shorter] == theirs[:shorter], (whole, split)
        return
    assert whole == split, (whole, split)


_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
TARGET: Final = Target(
    check,
    seeds=(
        _HEAD + b'content-length: 13\r\n\r\n{"model":"m"}',
        _HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\n{"mod\r\n8;x=y\r\nel":"m"}\r\n0\r\nt: 1\r\n\r\n',
        _HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}GET /health HTTP/1.1\r\nhost: a\r\n\r\n",
        (
            b"GET /v1/realtime?model=m HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nafter"
        ),
        b"GET http://a/v1/models/%6d HTTP/1.0\r\n\r\n",
        b"CONNECT //a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        _HEAD + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
    ),
    words=(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b";",
        b"0",
        b"5",
        b"ffffffffffffffff",
        b"-1",
        b"+1",
        b"content-length: ",
        b"transfer-encoding: chunked\r\n",
        b"transfer-encoding: identity\r\n",
        b"connection: close\r\n",
        b"host: b\r\n",
        b"authorization: Bearer k\r\n",
        b"expect: 100-continue\r\n",
        b"HTTP/1.0",
        b"HTTP/1.1",
        b"HTTP/2.0",
        b"GET ",
        b"OPTIONS ",
        b"CONNECT ",
        b"/../",
        b"..;",
        b"%2e",
        b"//",
        b"?",
        b"#",
        b"\x00",
        b"\xff",
        b"0\r\n\r\n",
    ),
)
