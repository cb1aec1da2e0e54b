"""The end of a chunked body is found, wherever reads cut it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.wire.chunked import LAST_CHUNK, ChunkedError, ChunkedWalk, chunk, payload


def _feed(framed: bytes, cuts: list[int]) -> tuple[int, bytes]:
    """Feed `framed` in pieces; return the offset at which the body ended, and the bytes after it."""
    walk = ChunkedWalk()
    edges = [0, *sorted(cut % (len(framed) + 1) for cut in cuts), len(framed)]
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        end = walk.feed(framed[start:stop])
        if end >= 0:
            return start + end, framed[start + end :]
    return -1, b""


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.sampled_from([b"0\r\n\r\n", b"0\r\na: b\r\n\r\n", b"000\r\nx: 1\r\ny: 2\r\n\r\n", b"0;last\r\n\r\n"]),
    st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"]),
)
def test_the_end_is_found_wherever_reads_cut(parts: list[bytes], cuts: list[int], last: bytes, excess: bytes) -> None:
    """Cuts inside size lines, data, CRLFs and trailers never hide, invent or move the end."""
    framed = b"".join(chunk(part) for part in parts) + last
    end, _ = _feed(framed + excess, cuts)
    assert end == len(framed)


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=5))
def test_byte_by_byte(parts: list[bytes]) -> None:
    """Reads of one byte each find the same end as one read."""
    framed = b"".join(chunk(part) for part in parts) + LAST_CHUNK
    assert _feed(framed, list(range(len(framed))))[0] == len(framed)


def test_a_terminator_inside_the_data_does_not_end_the_body() -> None:
    """Bytes inside a chunk that look like the last chunk do not end the body."""
    walk = ChunkedWalk()
    assert walk.feed(chunk(b"text 0\r\n\r\n")) == -1
    assert walk.between_chunks
    assert walk.feed(LAST_CHUNK) == len(LAST_CHUNK)


def test_between_chunks_tells_a_cut_chunk() -> None:
    """A chunk whose last byte is missing is not whole."""
    walk = ChunkedWalk()
    walk.feed(chunk(b"abc")[:-1])
    assert not walk.between_chunks


@pytest.mark.parametrize(
    "framed",
    [b"xyz\r\n", b"-5\r\nabc", b"\r\n\r\n", b"5 5\r\n", b"+5\r\nhello", b"0x5\r\nhello", b"1_0\r\n", b"+0\r\n"],
)
def test_what_is_no_size_is_an_error(framed: bytes) -> None:
    """A size line that is not hexadecimal digits alone is an error: clients would read it otherwise, or not at all."""
    with pytest.raises(ChunkedError):
        ChunkedWalk().feed(framed)


def test_a_size_line_without_end_is_an_error() -> None:
    """A replica cannot make the gateway keep an endless size line."""
    walk = ChunkedWalk()
    for _ in range(4):
        assert walk.feed(b"1" * 1000) == -1
    with pytest.raises(ChunkedError, match="over 4096 bytes"):
        walk.feed(b"1" * 1000)


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=5))
def test_payload_takes_the_framing_off(parts: list[bytes]) -> None:
    """`payload` returns the bytes that `chunk` framed."""
    assert payload(b"".join(chunk(part) for part in parts) + LAST_CHUNK) == b"".join(parts)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 255, 256, 257, 4095, 4096, 70_000])
@pytest.mark.parametrize("line", [b"%x", b"%X", b"0%x", b"%x;a=b"])
def test_sizes_of_any_length_are_read(size: int, line: bytes) -> None:
    """In one read or byte by byte around the size lines, however the number is written."""
    framed = b"".join(line % size + b"\r\n" + b"\r" * size + b"\r\n" for _ in range(3)) + LAST_CHUNK
    assert ChunkedWalk().feed(framed + b"HTTP") == len(framed)
    walk = ChunkedWalk()
    step = max(1, size // 3)
    found = -1
    for start in range(0, len(framed), step):
        assert found < 0
        found = walk.feed(framed[start : start + step])
    assert found >= 0
