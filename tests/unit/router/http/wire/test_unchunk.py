"""The framing of a chunked body is taken off as it passes, wherever reads cut it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.http.wire.chunked import LAST_CHUNK, ChunkedError, chunk
from router.http.wire.unchunk import Unchunk


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.sampled_from([LAST_CHUNK, b"0\r\na: b\r\n\r\n", b"000;x=y\r\n\r\n"]),
    st.sampled_from([b"", b"5\r\nmore!\r\n"]),
)
def test_the_contents_pass_wherever_reads_cut(parts: list[bytes], cuts: list[int], last: bytes, excess: bytes) -> None:
    """Each read's contents are written at once; trailers and what follows the end are not."""
    framed = b"".join(map(chunk, parts)) + last + excess
    edges = [0, *sorted(cut % (len(framed) + 1) for cut in cuts), len(framed)]
    written: list[bytes] = []
    unchunk = Unchunk(written.append)
    for start, stop in pairwise(edges):
        unchunk.write(framed[start:stop])
    assert b"".join(written) == b"".join(parts)
    assert all(written)


def test_nothing_is_held_back() -> None:
    """A part of a chunk is written before the rest of the chunk comes."""
    written: list[bytes] = []
    unchunk = Unchunk(written.append)
    unchunk.write(b"a\r\n01234")
    assert written == [b"01234"]
    unchunk.write(b"56789")
    assert written == [b"01234", b"56789"]


@pytest.mark.parametrize("framed", [b"xyz\r\n", b"0x5\r\nhello", b"1" * 5000])
def test_what_is_no_size_is_an_error(framed: bytes) -> None:
    """A broken size line, and one without end, are errors."""
    with pytest.raises(ChunkedError):
        Unchunk(bytes).write(framed)
