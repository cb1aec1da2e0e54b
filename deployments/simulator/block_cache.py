"""A replica's prefix cache in the simulator: KV blocks by their hash, least recently used evicted first."""

from collections import OrderedDict
from collections.abc import Sequence


class BlockCache:
    """An LRU of KV blocks.

    Of one prompt the last blocks are evicted before the first, as engines do (vLLM frees a sequence's in reverse).

    Args:
        capacity: blocks it holds.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def matched(self, blocks: Sequence[int]) -> int:
        """Return how many leading blocks are cached."""
        cached = self._blocks
        for count, block in enumerate(blocks):
            if block not in cached:
                return count
        return len(blocks)

    def use(self, blocks: Sequence[int]) -> list[int]:
        """Use a prompt's blocks, those not cached are computed; return the blocks evicted for them."""
        cached = self._blocks
        for block in reversed(blocks):
            cached[block] = None
            cached.move_to_end(block)
        return [cached.popitem(last=False)[0] for _ in range(len(cached) - self._capacity)]
