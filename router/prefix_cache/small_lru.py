"""An LRU of chunk hashes in an ordered dict, for small KV caches: faster than `ChunkLru`, with more memory a chunk."""

from collections import OrderedDict

import numpy as np

from router.prefix_cache.chunk_lru import Sizes
from router.prompt.chunk_chain import Hashes


class SmallLru:
    """Chunks in the order of their last use, bounded by the sum of their sizes; the same rules as `ChunkLru`.

    Measured: an ordered dict takes 0.25 µs and 165 bytes a chunk at every batch size. `ChunkLru` takes 67 bytes
    and 0.4 µs a chunk in batches of thousands (more than a small cache holds), 0.5 µs in batches of 512, 1.9 µs in
    batches of 64.

    Args:
        capacity: the largest sum of the sizes held, in the unit of the sizes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._sizes: OrderedDict[int, int] = OrderedDict()
        self._held = 0

    @property
    def held(self) -> int:
        """Sum of the sizes held."""
        return self._held

    @property
    def chunks(self) -> int:
        """Number of chunks held."""
        return len(self._sizes)

    def hashes(self) -> Hashes:
        """Return the chunks held, latest used first; shape (n,)."""
        return _array(list(reversed(self._sizes)))

    def sizes(self) -> Sizes:
        """Return the size of each chunk held, in the order of `hashes`; shape (n,)."""
        return np.fromiter(reversed(self._sizes.values()), np.int64, len(self._sizes))

    def resize(self, capacity: int) -> Hashes:
        """Change the capacity; return the chunks evicted because they no longer fit, shape (n,)."""
        self._capacity = capacity
        return self._evict()

    def use(self, hashes: Hashes, sizes: Sizes) -> Hashes:
        """Use a prompt's chunks; take in those that are not held. For arguments and result see `ChunkLru.use`."""
        held = self._sizes
        move_to_end = held.move_to_end
        new = 0
        for chunk, size in zip(reversed(hashes.tolist()), reversed(sizes.tolist()), strict=True):
            if chunk in held:
                move_to_end(chunk)
            else:
                held[chunk] = size
                new += size
        self._held += new
        return self._evict()

    def remove(self, hashes: Hashes) -> None:
        """Drop chunks, each named once; those not held are ignored."""
        for chunk in hashes.tolist():
            self._held -= self._sizes.pop(chunk, 0)

    def _evict(self) -> Hashes:
        gone: list[int] = []
        while self._held > self._capacity:
            chunk, size = self._sizes.popitem(last=False)
            self._held -= size
            gone.append(chunk)
        return _array(gone)

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        if sum(self._sizes.values()) != self._held or self._held > self._capacity:
            raise AssertionError(f"{self._held} of {self._capacity} are counted as held, the sizes say otherwise")


def _array(chunks: list[int]) -> Hashes:
    return np.array(chunks, np.uint64)
