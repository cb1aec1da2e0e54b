"""Simulates a replica's prefix cache: KV blocks by their hash; the least recently used one is evicted first."""

from collections import OrderedDict
from collections.abc import Sequence


class BlockCache:
    """An LRU of KV blocks.

    A prompt's last blocks are evicted before its first ones, as in engines: vLLM frees a sequence's blocks in reverse.

    Args:
        capacity: number of blocks that it holds.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def matched(self, blocks: Sequence[int]) -> int:
        """Return the number of leading blocks that are cached."""
        cached = self._blocks
        for count, block in enumerate(blocks):
            if block not in cached:
                return count
        return len(blocks)

    def use(self, blocks: Sequence[int]) -> list[int]:
        """Mark a prompt's blocks as just used, and store those that are not cached; return the blocks evicted."""
        cached = self._blocks
        for block in reversed(blocks):
            cached[block] = None
            cached.move_to_end(block)
        return [cached.popitem(last=False)[0] for _ in range(len(cached) - self._capacity)]
