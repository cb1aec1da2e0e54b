"""The simulated engine's prefix cache: KV blocks found again by the hash of what they hold, evicted LRU.

Every block is in one of four states, and their counts add up to the capacity:

    free → private (taken, being filled) → in use (full, known by its hash, held by sequences) → idle (held by none)
     ↑________|__________________________________________________________________ evicted ______|
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence


class KvCache:
    """Blocks of KV cache, without their contents.

    Args:
        capacity_blocks: how many there are.
        on_removed: told the hashes of blocks that left the cache.
    """

    def __init__(self, capacity_blocks: int, on_removed: Callable[[tuple[int, ...]], None]) -> None:
        self.capacity_blocks = capacity_blocks
        self._on_removed = on_removed
        self._holders: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._private = 0

    @property
    def free_blocks(self) -> int:
        """Blocks that hold nothing."""
        return self.capacity_blocks - self._private - len(self._holders) - len(self._idle)

    @property
    def usage(self) -> float:
        """Share of the blocks held by sequences, 0 to 1; idle ones count as available, as vLLM counts them."""
        return (self._private + len(self._holders)) / self.capacity_blocks

    def matched(self, hashes: Sequence[int]) -> int:
        """Return how many blocks at the beginning of `hashes` are in the cache."""
        for index, name in enumerate(hashes):
            if name not in self._holders and name not in self._idle:
                return index
        return len(hashes)

    def can_take(self, blocks: int, holding: Sequence[int] = ()) -> bool:
        """Tell whether `blocks` can be taken once the blocks `holding`, which are in the cache, are held."""
        newly_held = sum(1 for name in holding if name in self._idle)
        return blocks <= self.free_blocks + len(self._idle) - newly_held

    def hold(self, hashes: Sequence[int]) -> None:
        """Hold blocks that are in the cache, so that they stay."""
        for name in hashes:
            if name in self._idle:
                del self._idle[name]
                self._holders[name] = 1
            else:
                self._holders[name] += 1

    def take(self, blocks: int) -> None:
        """Take `blocks` private blocks, evicting idle ones where none are free.

        Raises:
            ValueError: `can_take` would have said no; nothing has changed.
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
        """Make a private block known by its hash, still held; False: it was known, so that block is held instead."""
        self._private -= 1
        if name in self._holders or name in self._idle:
            self.hold((name,))
            return False
        self._holders[name] = 1
        return True

    def release(self, hashes: Sequence[int], private: int) -> None:
        """Let go of held blocks, given in the prompt's order, and give back private ones.

        The last of a prompt become idle first, so they are evicted before what they build on.
        """
        self._private -= private
        for name in reversed(hashes):
            self._holders[name] -= 1
            if not self._holders[name]:
                del self._holders[name]
                self._idle[name] = None

    def clear(self) -> bool:
        """Forget every idle block; False, and nothing done, while sequences hold any. Reports no removals."""
        if self._holders or self._private:
            return False
        self._idle.clear()
        return True

    def check_integrity(self) -> None:
        """Prove that no block is lost, shared between states or negative.

        Raises:
            AssertionError: one is.
        """
        if self.free_blocks < 0 or self._private < 0:
            raise AssertionError(f"free {self.free_blocks}, private {self._private}")
        if any(count < 1 for count in self._holders.values()):
            raise AssertionError("a block in use without a holder")
        if self._holders.keys() & self._idle.keys():
            raise AssertionError("a block both held and idle")

    def check_held(self, holdings: Sequence[tuple[Sequence[int], int]]) -> None:
        """Prove that `holdings`, hashes and private blocks of every holder, are all that is held.

        Raises:
            AssertionError: they are not.
        """
        holders = Counter(name for hashes, _ in holdings for name in hashes)
        if holders != self._holders:
            raise AssertionError("blocks in use differ from what the holders hold")
        if sum(private for _, private in holdings) != self._private:
            raise AssertionError("private blocks differ from what the holders have")
