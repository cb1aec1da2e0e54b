"""Both chunk LRUs hold what an ordered dict would hold; the large one's memory is in proportion to it."""

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.prefix_cache.chunk_lru import ChunkLru
from router.prefix_cache.small_lru import SmallLru

prompts = st.lists(st.integers(1, 40), unique=True, min_size=0, max_size=20)


def _size(chunk: int) -> int:
    return 1 + chunk % 3


class LruMachine(RuleBasedStateMachine):
    """Drives a chunk LRU beside an ordered dict."""

    kind: type[ChunkLru | SmallLru] = ChunkLru

    def __init__(self) -> None:
        super().__init__()
        self.capacity = 40
        self.lru = self.kind(self.capacity)
        self.model: OrderedDict[int, None] = OrderedDict()

    def _shrink(self) -> set[int]:
        gone = set()
        while sum(map(_size, self.model)) > self.capacity:
            gone.add(self.model.popitem(last=False)[0])
        return gone

    @rule(prompt=prompts)
    def use(self, prompt: list[int]) -> None:
        """Use a prompt: its end counts as older than its start."""
        before = set(self.model)
        sizes = np.array([_size(chunk) for chunk in prompt], np.int64)
        evicted = set(self.lru.use(np.array(prompt, np.uint64), sizes).tolist())
        for chunk in reversed(prompt):
            self.model[chunk] = None
            self.model.move_to_end(chunk)
        assert evicted == self._shrink()
        assert evicted <= before | set(prompt)

    @rule(prompt=prompts)
    def remove(self, prompt: list[int]) -> None:
        """Remove chunks, some of which are not held."""
        self.lru.remove(np.array(prompt, np.uint64))
        for chunk in prompt:
            self.model.pop(chunk, None)

    @rule(capacity=st.integers(0, 80))
    def resize(self, capacity: int) -> None:
        """Change the capacity; what no longer fits is evicted, oldest first."""
        self.capacity = capacity
        assert set(self.lru.resize(capacity).tolist()) == self._shrink()

    @invariant()
    def same(self) -> None:
        """The LRU and the ordered dict hold the same chunks."""
        self.lru.check_integrity()
        assert set(self.lru.hashes().tolist()) == set(self.model)
        assert self.lru.held == sum(map(_size, self.model))


class SmallLruMachine(LruMachine):
    """Drives `SmallLru` beside an ordered dict."""

    kind = SmallLru


TestChunkLru = LruMachine.TestCase
TestChunkLru.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestSmallLru = SmallLruMachine.TestCase
TestSmallLru.settings = TestChunkLru.settings


def test_memory_follows_what_is_held_not_what_went_through() -> None:
    """A million chunks go through a cache of ten thousand; memory stays that of ten thousand."""
    lru = ChunkLru(10_000)
    generator = np.random.default_rng(0)
    ones = np.ones(1000, np.int64)
    for _ in range(1000):
        lru.use(generator.integers(1, 2**63, 1000, dtype=np.uint64), ones)
    lru.check_integrity()
    assert lru.chunks == 10_000
    assert lru.nbytes < 100 * 10_000


@pytest.mark.parametrize("kind", [ChunkLru, SmallLru])
def test_a_chunk_that_comes_twice_in_a_batch_counts_once(kind: type[ChunkLru | SmallLru]) -> None:
    """A batch of uses may name a chunk twice: its size counts once, and its latest use decides its age."""
    lru = kind(3)
    ones = np.ones(4, np.int64)
    lru.use(np.array([1, 2, 3, 1], np.uint64), ones)  # within a batch the first chunk is the youngest
    assert lru.held == 3
    assert lru.use(np.array([4], np.uint64), ones[:1]).tolist() == [3]
    lru.check_integrity()
