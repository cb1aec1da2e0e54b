"""A replica's KV blocks: what is in use is what sequences hold, and what is cached goes when its room is needed."""

from random import Random

import pytest

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS, KvLease, KvMemory


def test_a_prompt_is_matched_after_it_is_filled_until_it_is_evicted() -> None:
    """Given back, its blocks count as free and are still matched; the last ones are evicted first."""
    memory = KvMemory(4 * BLOCK_TOKENS)
    lease = memory.take([1, 2, 3], 3 * BLOCK_TOKENS)
    assert lease is not None
    assert (lease.matched, memory.used, memory.matched([1, 2, 3])) == (0, 3, 0)
    memory.filled(lease, [1, 2, 3])
    memory.give_back(lease)
    assert (memory.used, memory.matched([1, 2, 3]), memory.usage) == (0, 3, 0.0)
    other = memory.take([9], 2 * BLOCK_TOKENS)
    assert other is not None
    assert memory.matched([1, 2, 3]) == 2


def test_what_does_not_fit_takes_nothing() -> None:
    """A block that is held by another sequence is not taken twice, and one that is only cached takes its room."""
    memory = KvMemory(4 * BLOCK_TOKENS)
    first = memory.take([1, 2], 3 * BLOCK_TOKENS)
    assert first is not None
    memory.filled(first, [1, 2])
    assert memory.take([1, 2, 5], 4 * BLOCK_TOKENS) is None
    assert memory.used == 3
    shared = memory.take([1, 2, 5], 3 * BLOCK_TOKENS)
    assert shared is not None
    assert (shared.matched, memory.used) == (2, 4)


def test_two_that_compute_the_same_prompt_hold_it_twice() -> None:
    """The second copy is private, and is gone when its sequence ends."""
    memory = KvMemory(10 * BLOCK_TOKENS)
    leases = [memory.take([1, 2], 2 * BLOCK_TOKENS) for _ in range(2)]
    for lease in leases:
        assert lease is not None
        memory.filled(lease, [1, 2])
    assert memory.used == 4
    for lease in leases:
        assert lease is not None
        memory.give_back(lease)
    assert (memory.used, memory.cached) == (0, 2)


@pytest.mark.parametrize("seed", range(5))
def test_blocks_are_conserved(seed: int) -> None:
    """Whatever is taken and given back: what is in use is what the leases hold, and deltas add up to the cache."""
    rng, memory = Random(seed), KvMemory(40 * BLOCK_TOKENS)
    live: list[tuple[KvLease, list[int]]] = []
    told: set[int] = set()
    for _ in range(600):
        blocks = [1000 * rng.randrange(6) + place for place in range(rng.randrange(1, 9))]
        if live and rng.random() < 0.5:
            lease, _ = live.pop(rng.randrange(len(live)))
            memory.give_back(lease)
        else:
            lease_or_none = memory.take(blocks, (len(blocks) + rng.randrange(5)) * BLOCK_TOKENS)
            if lease_or_none is not None:
                if rng.random() < 0.8:
                    memory.filled(lease_or_none, blocks)
                live.append((lease_or_none, blocks))
        memory.check_integrity()
        shared = {block for lease, _ in live for block in lease.shared}
        assert memory.used == len(shared) + sum(lease.private for lease, _ in live)
        delta = memory.delta()
        if delta is not None:
            told -= set(delta.evicted.tolist())
            told |= set(delta.resident.tolist())
        assert len(told) == memory.cached
        assert all(memory.matched([block]) for block in told)
