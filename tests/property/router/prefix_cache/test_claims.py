"""Compiled code claims and evicts chunks as Python does, which says what is right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prefix_cache.claims import IS_COMPILED, evict, evict_interpreted, use, use_interpreted

pytestmark = pytest.mark.skipif(
    not IS_COMPILED, reason="router/prefix_cache/claim_ops.c is not compiled: run `make setup`"
)
STEP = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 2), st.lists(st.integers(1, 30), max_size=12, unique=True)),
    st.tuples(st.just("evict"), st.integers(0, 2), st.tuples(st.integers(0, 3000), st.integers(-2, 6))),
)
WIDE = 1 << 70
"""More bits than a machine word has."""


@given(steps=st.lists(STEP, max_size=30))
def test_compiled_code_claims_as_python_does(steps: list[tuple[str, int, object]]) -> None:
    """After any prompts and evictions of three replicas each dict is the same, in the same order."""
    bits = [1, 2, WIDE]
    sizes: list[list[dict[int, int]]] = [[{}, {}, {}], [{}, {}, {}]]
    masks: list[dict[int, int]] = [{}, {}]
    for kind, replica, what in steps:
        told = []
        for form in (0, 1):
            mine, bit = sizes[form][replica], bits[replica]
            if isinstance(what, list):
                ends = [240 * (position + 1) + position**2 for position in range(len(what))]
                told.append((use, use_interpreted)[form](mine, masks[form], what, ends, bit))
            else:
                assert isinstance(what, tuple)
                told.append((evict, evict_interpreted)[form](mine, masks[form], bit, *what))
        assert told[0] == told[1], kind
        assert [list(each.items()) for each in sizes[0]] == [list(each.items()) for each in sizes[1]]
        assert masks[0] == masks[1]


def test_a_chunk_that_the_masks_lack_is_an_error() -> None:
    """A replica's chunk without its bit cannot be: it is told, not passed over."""
    with pytest.raises(KeyError):
        evict({5: 240}, {}, 1, 0, 1)


def test_each_chunk_has_an_end() -> None:
    """Hashes without ends are refused before anything is changed."""
    sizes: dict[int, int] = {}
    with pytest.raises(ValueError, match="end"):
        use(sizes, {}, [1, 2], [240], 1)
    assert not sizes
