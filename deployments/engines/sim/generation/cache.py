"""The simulated engine's prefix cache: KV blocks, found by the hash of their content and evicted in LRU order.

Every block is in one of four states; their counts add up to the capacity:

    free → private (taken, being filled) → in use (full, known by its hash, held by sequences) → idle (held by none)
     ↑________|__________________________________________________________________ evicted ______|
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence


class KvCache:
    """The blocks of a KV cache, without their contents.

    Args:
        capacity_blocks: number of blocks.
        on_removed: called with the hashes of blocks that left the cache.
    """

    def __init__(self, capacity_blocks: int, on_removed: Callable[[tuple[int, ...]], None]) -> None:
        self.capacity_blocks = capacity_blocks
        self._on_removed = on_removed
        self._holders: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._private = 0

    @property
    def free_blocks(self) -> int:
        """Number of blocks that hold nothing."""
        return self.capacity_blocks - self._private - len(self._holders) - len(self._idle)

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1; idle blocks count as available, as in vLLM."""
        return (self._private + len(self._holders)) / self.capacity_blocks

    def matched(self, hashes: Sequence[int]) -> int:
        """Return how many blocks at the beginning of `hashes` are in the cache."""
        for index, name in enumerate(hashes):
            if name not in self._holders and name not in self._idle:
                return index
        return len(hashes)

    def can_take(self, blocks: int, holding: Sequence[int] = ()) -> bool:
        """Return whether blocks can be taken.

        Args:
            blocks: number of blocks to take.
            holding: hashes of blocks in the cache that are to be held first.
        """
        newly_held = sum(1 for name in holding if name in self._idle)
        return blocks <= self.free_blocks + len(self._idle) - newly_held

    def hold(self, hashes: Sequence[int]) -> None:
        """Hold blocks that are in the cache, so that they are not evicted."""
        for name in hashes:
            if name in self._idle:
                del self._idle[name]
                self._holders[name] = 1
            else:
                self._holders[name] += 1

    def take(self, blocks: int) -> None:
        """Take a number of private blocks; evict idle ones if too few are free.

        Raises:
            ValueError: there are too few blocks (`can_take` is False); nothing has changed.
        """
        if not self.can_take(blocks):
            raise ValueError(f"{blocks} blocks asked for, {self.free_blocks + len(self._idle)} available")
        evicted = []
        for _ in range(blocks - self.free_blocks):
            name, _ = self._idle.popitem(last=False)
            evicted.append(name)
        self._private += blocks
        if evicted:
            self._on_removed(tuple(evicted))

    def commit(self, name: int) -> bool:
        """Give a private block its hash; it stays held.

        Returns:
            False: a block with this hash was in the cache, so that one is held and the private one is free.
        """
        self._private -= 1
        if name in self._holders or name in self._idle:
            self.hold((name,))
            return False
        self._holders[name] = 1
        return True

    def release(self, hashes: Sequence[int], private: int) -> None:
        """Release held blocks and private ones.

        The last blocks of a prompt become idle first, so they are evicted before the blocks that they follow.

        Args:
            hashes: the held blocks, in the prompt's order.
            private: number of private blocks.
        """
        self._private -= private
        for name in reversed(hashes):
            self._holders[name] -= 1
            if not self._holders[name]:
                del self._holders[name]
                self._idle[name] = None

    def clear(self) -> bool:
        """Forget every block, without a report to `on_removed`; return False, with no change, if any are held."""
        if self._holders or self._private:
            return False
        self._idle.clear()
        return True

    def check_integrity(self) -> None:
        """Check that no block is lost or in two states, and that no count is negative.

        Raises:
            AssertionError: the message says what is wrong.
        """
        if self.free_blocks < 0 or self._private < 0:
            raise AssertionError(f"free {self.free_blocks}, private {self._private}")
        if any(count < 1 for count in self._holders.values()):
            raise AssertionError("a block in use without a holder")
        if self._holders.keys() & self._idle.keys():
            raise AssertionError("a block both held and idle")

    def check_held(self, holdings: Sequence[tuple[Sequence[int], int]]) -> None:
        """Check that exactly the blocks in `holdings` are held.

        Args:
            holdings: the hashes and the number of private blocks of every holder.

        Raises:
            AssertionError: they are not.
        """
        holders = Counter(name for hashes, _ in holdings for name in hashes)
        if holders != self._holders:
            raise AssertionError("blocks in use differ from what the holders hold")
        if sum(private for _, private in holdings) != self._private:
            raise AssertionError("private blocks differ from what the holders have")
