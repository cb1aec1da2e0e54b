"""An engine's blocks by our own keys, against an engine that keeps copies."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deployments.engines.interface import BlockRemoved, BlockStored
from deployments.kv_residency.block_keys import block_keys, packed
from deployments.kv_residency.kv_blocks import KvBlocks

BLOCK = 4
PROMPTS = [tuple(fork if place >= 4 * fork else 9 for place in range(16)) for fork in range(4)]
"""Prompts of four blocks that go apart after none, one, two and three of them."""


class Engine:
    """Keeps copies of blocks, and tells of each."""

    def __init__(self) -> None:
        self.copies: Counter[tuple[int, ...]] = Counter()

    def store(self, prompt: tuple[int, ...], first: int, last: int) -> BlockStored:
        """Store one more copy of blocks `first` to `last` of a prompt."""
        names = [prompt[: BLOCK * (block + 1)] for block in range(first, last)]
        self.copies.update(names)
        return BlockStored(
            block_hashes=tuple(map(_hash, names)),
            parent_block_hash=_hash(prompt[: BLOCK * first]) if first else None,
            token_ids=prompt[BLOCK * first : BLOCK * last],
            block_size=BLOCK,
        )

    def remove(self, name: tuple[int, ...]) -> BlockRemoved:
        """Remove one copy."""
        self.copies[name] -= 1
        self.copies += Counter()
        return BlockRemoved((_hash(name),))


def _hash(name: tuple[int, ...]) -> int:
    return hash(("engine", name))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.booleans()), max_size=60))
def test_a_block_is_held_until_its_last_copy_goes(steps: list[tuple[int, int, int, bool]]) -> None:
    """Blocks are held exactly while the engine has a copy whose parent it has told of."""
    engine, blocks = Engine(), KvBlocks(BLOCK)
    held: set[int] = set()
    for prompt_number, first, count, is_store in steps:
        prompt = PROMPTS[prompt_number]
        if is_store:
            # An engine stores from the first block that it lacks, or makes copies from the start.
            cached = next((n for n in range(4) if not engine.copies[prompt[: BLOCK * (n + 1)]]), 4)
            start = min(first, cached)
            appeared = set(blocks.stored(engine.store(prompt, start, min(4, start + count))))
            assert not appeared & held
            held |= appeared
        elif engine.copies:
            name = sorted(engine.copies)[first % len(engine.copies)]
            if any(other[: len(name)] == name and other != name for other in engine.copies):
                continue  # engines remove from the end
            vanished = set(blocks.removed(engine.remove(name)))
            assert vanished <= held
            held -= vanished
        blocks.check_integrity()
        keys = {
            block_keys(packed(prompt), BLOCK)[block]
            for prompt in PROMPTS
            for block in range(4)
            if engine.copies[prompt[: BLOCK * (block + 1)]]
        }
        assert held == set(blocks.copies) == keys
        assert blocks.total_copies == engine.copies.total()


def test_events_that_do_not_fit_are_passed_over() -> None:
    """Unknown parents, other block sizes, masked blocks and unknown removals claim nothing and break nothing."""
    blocks = KvBlocks(BLOCK)
    assert not list(blocks.stored(BlockStored((1,), 77, (1, 2, 3, 4), BLOCK)))
    assert not list(blocks.stored(BlockStored((1,), None, (1, 2), 2)))
    assert not list(blocks.stored(BlockStored((1,), None, (1, 2, 3, 4, 5, 6, 7, 8), BLOCK)))
    assert not list(blocks.removed(BlockRemoved((1, 2))))
    assert len(list(blocks.stored(BlockStored((1, b"two"), None, (1, 2, 3, 4, 5, 6, 7, 8), BLOCK)))) == 2
    assert len(list(blocks.cleared())) == 2
    assert not list(blocks.removed(BlockRemoved((1,))))
    blocks.check_integrity()


def test_what_else_a_block_stands_for_makes_it_another() -> None:
    """Equal tokens under another salt, adapter or image are other blocks, from the first that has it on."""
    ids = packed(range(12))
    plain = block_keys(ids, BLOCK)
    salted = block_keys(ids, BLOCK, extras=['["salt"]'])
    pictured = block_keys(ids, BLOCK, extras=["", '[["image",0]]', ""])
    assert len({*plain, *salted}) == 6
    assert pictured[0] == plain[0]
    assert not set(pictured[1:]) & set(plain)
    assert block_keys(ids, BLOCK)[2] == block_keys(ids[2 * 4 * BLOCK :], BLOCK, plain[1])[0]
