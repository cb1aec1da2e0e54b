"""Compiled code cuts and hashes prompts as Python does, which says what is right."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prompt.cut import IS_COMPILED, MIN_CHUNK_BYTES, TIERS, cut, cut_interpreted

SIZES = [0, 1, 10, 63, 64, 65, 200, 239, 240, 241, 300, 480, 1000, 5000, 20_000, 70_000]


@pytest.mark.skipif(not IS_COMPILED, reason="router/prompt/chunk_cut.c is not compiled: run `make setup`")
@given(
    sizes=st.lists(st.sampled_from(SIZES), max_size=7),
    offset=st.sampled_from([0, 10, 4000, 4096, 5000, 16_384, 70_000, 300_000]),
    seed=st.integers(0, 2**64 - 1),
)
def test_compiled_code_cuts_as_python_does(sizes: list[int], offset: int, seed: int) -> None:
    """Hashes, ends, size and rest are the same, over pieces of any sizes, wherever in a prompt they begin."""
    rng = Random(seed)
    pieces = [rng.randbytes(size) for size in sizes]
    assert cut(pieces, seed, offset) == cut_interpreted(pieces, seed, offset)


def test_a_long_prompt_has_few_chunks() -> None:
    """The first chunks are short and the last ones long; together they are all but the rest."""
    data = Random(1).randbytes(100_000)
    hashes, ends, size, rest = cut([data], 1)
    assert size == len(data)
    assert ends[0] == TIERS[0][1]
    assert len(set(hashes)) == len(ends) < 120
    assert ends[-1] + len(rest) == size
    assert len(rest) < MIN_CHUNK_BYTES
