"""The bucket table holds what a dict would hold, whichever keys collide."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.prefix_cache.bucket_table import BucketTable

# few distinct low and middle bits: most keys share their buckets
colliding = st.builds(lambda low, mid, high: low | mid << 32 | high << 60, *[st.integers(0, 3)] * 3)
keys = st.one_of(colliding, st.integers(1, 2**64 - 1)).filter(bool)
batches = st.lists(keys, unique=True, max_size=40)


class TableMachine(RuleBasedStateMachine):
    """Drives a table beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = BucketTable([np.dtype(np.int64)], slots=16)
        self.model: dict[int, int] = {}
        self.next_value = 1

    @rule(batch=batches)
    def store(self, batch: list[int]) -> None:
        """Store new keys; grow where both their buckets are full; keys that still collide stay out."""
        left = np.array([key for key in batch if key not in self.model], np.uint64)
        while len(left):
            slots = self.table.place(left)
            stored, left, slots = left[slots >= 0], left[slots < 0], slots[slots >= 0]
            values = np.arange(self.next_value, self.next_value + len(stored))
            self.next_value += len(stored)
            self.table.payload[0][slots] = values
            self.model.update(zip(stored.tolist(), values.tolist(), strict=True))
            if not self.table.crowded:
                break
            self.table.grow()

    @rule(batch=batches)
    def remove(self, batch: list[int]) -> None:
        """Remove keys, some of which are not stored."""
        slots = self.table.find(np.array(batch, np.uint64))
        self.table.free(slots[slots >= 0])
        for key in batch:
            self.model.pop(key, None)

    @rule()
    def grow(self) -> None:
        """Grow; no key is lost."""
        if self.table.slots < 1 << 14:
            self.table.grow()

    @rule(batch=batches)
    def look_up(self, batch: list[int]) -> None:
        """A key is found at the same slot, alone or in a batch, with the payload stored for it."""
        slots = self.table.find(np.array(batch, np.uint64)).tolist()
        for key, slot in zip(batch, slots, strict=True):
            assert slot == self.table.find_one(key)
            assert (slot >= 0) == (key in self.model)
            if slot >= 0:
                assert self.table.payload[0][slot] == self.model[key]

    @invariant()
    def sound(self) -> None:
        """The table's invariants hold, and it has as many keys as the dict."""
        self.table.check_integrity()
        assert self.table.used == len(self.model)


TestBucketTable = TableMachine.TestCase
TestBucketTable.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
