"""Compressed bodies are decoded in bounded steps, and no further than a body may be long."""

import gzip
import itertools
import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.wire.request.content_coding import BodyDecoder, ContentCodingError, DecodedTooLongError, understood

STEP_BYTES = 256 * 1024


def _decode(body: bytes, coding: str, most_bytes: int = 1 << 30) -> tuple[bytes, int]:
    """Return the decoded body and the number of steps."""
    decoder = BodyDecoder(body, coding, most_bytes)
    steps = 1
    while (decoded := decoder.step()) is None:
        steps += 1
    return decoded, steps


def _raw_deflate(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(body) + deflate.flush()


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("gzip", lambda body: gzip.compress(body[:10]) + gzip.compress(body[10:]) + b"\0" * 100),
    ("gzip", lambda body: gzip.compress(body, 0)),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
]


@given(st.binary(max_size=2000), st.sampled_from(ENCODERS))
def test_a_body_comes_out_as_it_went_in(body: bytes, encoder: tuple[str, Callable[[bytes], bytes]]) -> None:
    """Gzip of one or several members, deflate with zlib's header and the bare one that some clients send."""
    coding, encode = encoder
    assert _decode(encode(body), coding)[0] == body


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_long_bodies(coding: str, encode: Callable[[bytes], bytes]) -> None:
    """Megabytes that do not shrink come out whole."""
    body = random.Random(0).randbytes(3_000_001)
    assert _decode(encode(body), coding, len(body))[0] == body


def test_a_bomb_is_refused_at_the_limit() -> None:
    """A body that grows a thousandfold is decoded in small steps, and not one byte beyond what is allowed."""
    bomb = gzip.compress(bytes(20_000_000))
    decoder = BodyDecoder(bomb, "gzip", 1_000_000)
    for _ in range(1_000_000 // STEP_BYTES):
        assert decoder.step() is None
    with pytest.raises(DecodedTooLongError):
        decoder.step()
    assert _decode(bomb, "gzip", 20_000_000)[1] >= 20_000_000 // STEP_BYTES


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"plain text", "gzip"),
        (b"plain text", "deflate"),
        (gzip.compress(b"x" * 100)[:-1], "gzip"),
        (gzip.compress(b"x" * 100)[:5], "gzip"),
        (zlib.compress(b"x" * 100)[:-3], "deflate"),
        (gzip.compress(b"x") + b"garbage", "gzip"),
        (zlib.compress(b"x") + b"garbage", "deflate"),
        (gzip.compress(b"") * 2000, "gzip"),
    ],
    ids=itertools.count(),  # compressed bytes hold the time, and each process would name the tests otherwise
)
def test_damaged_bodies_are_errors(body: bytes, coding: str) -> None:
    """Damaged, cut short, followed by something, or made of pieces that hold nothing: a clear error."""
    with pytest.raises(ContentCodingError, match="body"):
        _decode(body, coding)


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"gzip", "gzip"),
        (b" X-GZIP ", "gzip"),
        (b"Deflate", "deflate"),
        (b"identity", ""),
        (b"", ""),
        (b"identity, gzip", "gzip"),
    ],
)
def test_codings_that_are_understood(value: bytes, coding: str) -> None:
    """The names are read in any case, and `identity` is none."""
    assert understood(value) == coding


@pytest.mark.parametrize("value", [b"br", b"zstd", b"gzip, gzip", b"deflate, gzip", b"gzip;q=1"])
def test_other_codings_are_errors_that_say_what_is_right(value: bytes) -> None:
    """The client is told what it may send."""
    with pytest.raises(ContentCodingError, match="gzip, deflate or none"):
        understood(value)
