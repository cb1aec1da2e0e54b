"""An engine's blocks in its tiers, against an engine that keeps sets."""

from hypothesis import given
from hypothesis import strategies as st

from deployments.engines.interface import BlockRemoved, BlockStored, Medium
from deployments.kv_residency.block_keys import block_keys, packed
from deployments.kv_residency.kv_tiers import KvTiers
from deployments.kv_residency.place import Place

BLOCK = 4
PROMPT = tuple(range(6 * BLOCK))
NAMES = tuple(100 + block for block in range(6))
KEYS = block_keys(packed(PROMPT), BLOCK)


def stored(medium: Medium, first: int, last: int) -> BlockStored:
    """Return the event of blocks of the prompt; below the device without tokens, as engines may send it."""
    if medium is not Medium.DEVICE:
        return BlockStored(NAMES[first:last], None, (), 0, medium=medium)
    return BlockStored(
        NAMES[first:last], NAMES[first - 1] if first else None, PROMPT[first * BLOCK : last * BLOCK], BLOCK
    )


@given(st.lists(st.tuples(st.sampled_from(Medium), st.integers(0, 5), st.booleans()), max_size=60))
def test_a_block_is_at_the_best_place_that_has_it(steps: list[tuple[Medium, int, bool]]) -> None:
    """Whatever comes and goes where; each change of place is told, and none that is no change."""
    tiers = KvTiers(BLOCK)
    held: dict[Medium, set[int]] = {medium: set() for medium in Medium}
    places: dict[int, Place] = {}
    for medium, block, is_store in steps:
        device, lower = held[Medium.DEVICE], held[Medium.HOST] | held[Medium.DISK]
        if is_store and medium is Medium.DEVICE:
            first = next((place for place in range(6) if place not in device), 6)
            if first > block:
                continue  # an engine stores after what it holds
            held[medium] |= set(range(first, block + 1))
            changes = dict(tiers.stored(stored(medium, first, block + 1)))
        elif is_store:
            if block not in device | lower:
                continue  # a tier gets what another has
            held[medium].add(block)
            changes = dict(tiers.stored(stored(medium, block, block + 1)))
        else:
            if medium is Medium.DEVICE and block + 1 in device:
                continue  # engines remove from the end
            held[medium].discard(block)
            changes = dict(tiers.removed(BlockRemoved((NAMES[block],), medium)))
        tiers.check_integrity()
        lower = held[Medium.HOST] | held[Medium.DISK]
        right = {KEYS[block]: Place.LOWER for block in lower} | {KEYS[block]: Place.DEVICE for block in device}
        assert changes == {
            key: right.get(key, Place.NOWHERE)
            for key in KEYS
            if right.get(key, Place.NOWHERE) is not places.get(key, Place.NOWHERE)
        }
        places = right
        assert [tiers.place(key) for key in KEYS] == [right.get(key, Place.NOWHERE) for key in KEYS]
        assert [tiers.held_tokens(medium) for medium in Medium] == [BLOCK * len(held[medium]) for medium in Medium]
    assert set(tiers.cleared()) == set(places)
    assert all(tiers.place(key) is Place.NOWHERE for key in KEYS)
    tiers.check_integrity()


def test_a_block_that_nobody_has_told_of_is_not_claimed() -> None:
    """A tier's events do not say which adapter or salt a block is for, so its tokens alone make no claim."""
    tiers = KvTiers(BLOCK)
    event = BlockStored(NAMES[:1], None, PROMPT[:BLOCK], BLOCK, medium=Medium.HOST)
    assert not list(tiers.stored(event))
    assert tiers.place(KEYS[0]) is Place.NOWHERE
    assert not list(tiers.removed(BlockRemoved(NAMES[:1], Medium.HOST)))
    list(tiers.stored(stored(Medium.DEVICE, 0, 1)))
    assert not list(tiers.stored(event)), "it is on the device, which is better"
    assert dict(tiers.removed(BlockRemoved(NAMES[:1]))) == {KEYS[0]: Place.LOWER}
