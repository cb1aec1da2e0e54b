"""An LRU of chunk hashes in numpy arrays: what a KV cache of known size still holds of its prompts."""

import numpy as np
from numpy.typing import NDArray

from router.prefix_cache.bucket_table import BucketTable
from router.prompt.chunk_chain import Hashes

_POSITION = 0
_SIZE = 1
_EVICT_BATCH = 512
"""Log entries looked at together when chunks are evicted."""
_START_LOG = 1024
"""Log entries there is room for at first."""

Sizes = NDArray[np.int64]


class ChunkLru:
    """Chunks in the order of their last use, bounded by the sum of their sizes.

    Uses are kept as a log: a ring of hashes in the order of use. A chunk's table entry holds the place of its latest
    use in the log, so older log entries of the same chunk are recognised as out of date. All work is done in batches.
    Memory is in proportion to the chunks held (40 to 100 bytes each), not to the chunks that went through.

    The end of a prompt is evicted before its start, as engines free a sequence's blocks (vLLM in reverse order): a
    start without its end can still be used, an end without its start cannot.

    Args:
        capacity: the largest sum of the sizes held, in the unit of the sizes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._table = BucketTable([np.dtype(np.int64), np.dtype(np.uint32)], slots=256)
        self._log: Hashes = np.zeros(_START_LOG, np.uint64)
        self._head = 1  # place of the next use; places only grow, their low bits index the ring
        self._tail = 1
        self._held = 0

    @property
    def held(self) -> int:
        """Sum of the sizes held."""
        return self._held

    @property
    def chunks(self) -> int:
        """Number of chunks held."""
        return self._table.used

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self._table.nbytes + self._log.nbytes

    def hashes(self) -> Hashes:
        """Return the chunks held, in no particular order; shape (n,)."""
        keys = self._table.keys
        held: Hashes = keys[keys != 0]
        return held

    def resize(self, capacity: int) -> Hashes:
        """Change the capacity; return the chunks evicted because they no longer fit, shape (n,)."""
        self._capacity = capacity
        return self._evict()

    def use(self, hashes: Hashes, sizes: Sizes) -> Hashes:
        """Use a prompt's chunks; take in those that are not held.

        Args:
            hashes: chunks in the prompt's order, shape (n,). The first counts as the latest used; a chunk that comes
                twice counts once.
            sizes: the chunks' sizes, shape (n,), each 1 or more.

        Returns:
            The chunks evicted to make room, which may be some of this prompt's own end; shape (m,).
        """
        if not len(hashes):
            return hashes
        hashes, sizes = hashes[::-1], sizes[::-1]
        self._make_log_room(len(hashes))
        places = np.arange(self._head, self._head + len(hashes), dtype=np.int64)
        self._log[places & len(self._log) - 1] = hashes
        self._head += len(hashes)
        slots = self._table.find(hashes)
        missing = slots < 0
        self._table.payload[_POSITION][slots[~missing]] = places[~missing]
        if not missing.any():
            return self._evict()
        refused = self._take_in(hashes[missing], sizes[missing], places[missing])
        evicted = self._evict()
        return np.concatenate([evicted, refused]) if len(refused) else evicted

    def remove(self, hashes: Hashes) -> None:
        """Drop chunks, each named once; those not held are ignored."""
        slots = self._table.find(hashes)
        slots = slots[slots >= 0]
        self._held -= int(self._table.payload[_SIZE][slots].sum())
        self._table.free(slots)

    def _take_in(self, hashes: Hashes, sizes: Sizes, places: Sizes) -> Hashes:
        """Store new chunks; return those refused because their hashes collide with too many others."""
        if len(hashes) > 1:
            _, last = np.unique(hashes[::-1], return_index=True)
            keep = np.sort(len(hashes) - 1 - last)
            hashes, sizes, places = hashes[keep], sizes[keep], places[keep]
        while self._table.wants_growth(len(hashes)):
            self._table.grow()
        slots = self._table.place(hashes)
        stored = slots >= 0
        left = hashes[~stored]
        while len(left) and self._table.crowded:
            self._table.grow()
            left = left[self._table.place(left) < 0]
            slots = self._table.find(hashes)
            stored = slots >= 0
        if len(left):
            slots, sizes, places = slots[stored], sizes[stored], places[stored]
        self._held += int(sizes.sum())
        self._table.payload[_POSITION][slots] = places
        self._table.payload[_SIZE][slots] = sizes
        return left

    def _evict(self) -> Hashes:
        gone: list[Hashes] = []
        while self._held > self._capacity:
            places = np.arange(self._tail, min(self._tail + _EVICT_BATCH, self._head), dtype=np.int64)
            slots, live = self._live(self._log[places & len(self._log) - 1], places)
            slots, places = slots[live], places[live]
            sums = np.cumsum(self._table.payload[_SIZE][slots], dtype=np.int64)
            need = int(np.searchsorted(sums, self._held - self._capacity)) + 1
            if need > len(slots):  # this batch frees too little: evict all of it, then look at the next
                self._tail = min(self._tail + _EVICT_BATCH, self._head)
            else:
                self._tail = int(places[need - 1]) + 1
                slots, sums = slots[:need], sums[:need]
            if len(slots):
                gone.append(self._table.keys[slots])
                self._held -= int(sums[-1])
                self._table.free(slots)
        return np.concatenate(gone) if gone else np.empty(0, np.uint64)

    def _live(self, hashes: Hashes, places: Sizes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return each log entry's slot, and whether the entry is its chunk's latest use."""
        slots = self._table.find(hashes)
        return slots, (slots >= 0) & (self._table.payload[_POSITION][slots] == places)

    def _make_log_room(self, more: int) -> None:
        """Drop out-of-date entries from the log, or lengthen it, so that `more` further uses fit."""
        if self._head + more - self._tail <= len(self._log):
            return
        places = np.arange(self._tail, self._head, dtype=np.int64)
        hashes = self._log[places & len(self._log) - 1]
        slots, live = self._live(hashes, places)
        hashes, slots = hashes[live], slots[live]
        size = len(self._log)
        while size < 2 * (len(hashes) + more):
            size *= 2
        self._log = np.zeros(size, np.uint64)
        places = np.arange(1, len(hashes) + 1, dtype=np.int64)
        self._log[places & size - 1] = hashes
        self._table.payload[_POSITION][slots] = places
        self._tail, self._head = 1, len(hashes) + 1

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        self._table.check_integrity()
        taken = np.flatnonzero(self._table.keys)
        if int(self._table.payload[_SIZE][taken].sum()) != self._held or self._held > self._capacity:
            raise AssertionError(f"{self._held} of {self._capacity} are counted as held, the sizes say otherwise")
        places = self._table.payload[_POSITION][taken]
        if len(places) and not (self._tail <= places.min() and places.max() < self._head):
            raise AssertionError("a chunk's last use is outside the log")
        if (self._log[places & len(self._log) - 1] != self._table.keys[taken]).any():
            raise AssertionError("a chunk's last use is logged for another chunk")
        if self._head - self._tail > len(self._log):
            raise AssertionError("the log overwrites itself")
