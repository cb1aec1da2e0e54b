"""What a KV cache of known size still holds of the chunks that went through it: least recently used go first."""

import numpy as np
from numpy.typing import NDArray

from router.prefix_cache.bucket_table import BucketTable
from router.prompt.chunk_chain import Hashes

_POSITION = 0
_SIZE = 1
_EVICT_BATCH = 512
_START_LOG = 1024

Sizes = NDArray[np.int64]


class ChunkLru:
    """Chunks in the order of their last use, bounded by their sizes' sum.

    Uses are kept as a log: a ring of hashes, whose place in it is their age. A chunk's table entry names its latest
    place, so older log entries of the same chunk are known to be out of date. Everything is done for whole batches;
    memory is in proportion to what is held (40 to 100 bytes a chunk), not to how much went through.

    Of one prompt, the end goes before the start, as engines free a sequence's blocks (vLLM frees them in reverse):
    a start without its end is still of use, an end without its start is not.

    Args:
        capacity: the most the sizes held may sum up to.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._table = BucketTable([np.dtype(np.int64), np.dtype(np.uint32)], slots=256)
        self._log: Hashes = np.zeros(_START_LOG, np.uint64)
        self._head = 1  # the next use's place; places only grow, the ring is indexed by their low bits
        self._tail = 1
        self._held = 0

    @property
    def held(self) -> int:
        """The sum of the sizes held."""
        return self._held

    @property
    def chunks(self) -> int:
        """How many chunks are held."""
        return self._table.used

    @property
    def nbytes(self) -> int:
        """Memory the arrays take."""
        return self._table.nbytes + self._log.nbytes

    def hashes(self) -> Hashes:
        """Return the chunks held, in no order; shape (n,)."""
        keys = self._table.keys
        held: Hashes = keys[keys != 0]
        return held

    def resize(self, capacity: int) -> Hashes:
        """Change the capacity; return the chunks that no longer fit."""
        self._capacity = capacity
        return self._evict()

    def use(self, hashes: Hashes, sizes: Sizes) -> Hashes:
        """Use a prompt's chunks, those not held are taken in.

        Args:
            hashes: shape (n,), in the prompt's order: the first is the latest used; one that comes twice counts once.
            sizes: of the same shape, each 1 or more.

        Returns:
            The chunks that had to go for it, perhaps some of the prompt's own end.
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
        """Drop chunks, each named once; those not held are passed over."""
        slots = self._table.find(hashes)
        slots = slots[slots >= 0]
        self._held -= int(self._table.payload[_SIZE][slots].sum())
        self._table.free(slots)

    def _take_in(self, hashes: Hashes, sizes: Sizes, places: Sizes) -> Hashes:
        """Store new chunks; return those refused because their hashes collide with too many others'."""
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
            if need > len(slots):  # not enough in this batch: all of it goes, then the next
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
        """Tell which log entries are their chunk's latest use."""
        slots = self._table.find(hashes)
        return slots, (slots >= 0) & (self._table.payload[_POSITION][slots] == places)

    def _make_log_room(self, more: int) -> None:
        """Drop out-of-date entries from the log, or make it longer, so that `more` fit."""
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
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self._table.check_integrity()
        taken = np.flatnonzero(self._table.keys)
        if int(self._table.payload[_SIZE][taken].sum()) != self._held or self._held > self._capacity:
            raise AssertionError(f"{self._held} of {self._capacity} are said to be held, the sizes say otherwise")
        places = self._table.payload[_POSITION][taken]
        if len(places) and not (self._tail <= places.min() and places.max() < self._head):
            raise AssertionError("a chunk's last use is outside the log")
        if (self._log[places & len(self._log) - 1] != self._table.keys[taken]).any():
            raise AssertionError("a chunk's last use is logged for another chunk")
        if self._head - self._tail > len(self._log):
            raise AssertionError("the log overwrites itself")
