"""Simulates the KV blocks of one replica: what is in use, what is only cached, and what is free."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from router.prefix_cache.exact import ResidencyDelta

BLOCK_TOKENS = 512
"""Tokens of a block: that of Mooncake's traces, so that these run as they are. Engines have smaller ones."""


@dataclass(slots=True)
class KvLease:
    """The blocks of one sequence.

    Attributes:
        shared: hashes of its blocks that other sequences may use too.
        private: number of its other blocks.
        matched: leading blocks of its prompt that were cached when it was given them.
        block_tokens: tokens of a block.
    """

    shared: list[int]
    private: int
    matched: int
    block_tokens: int = BLOCK_TOKENS

    @property
    def matched_tokens(self) -> int:
        """Leading tokens of its prompt that were cached when it was given its blocks."""
        return self.matched * self.block_tokens


class KvMemory:
    """The blocks of one replica.

    A sequence gets all blocks at once that it will ever need, its answer's too, so it is never preempted; one that does
    not fit waits. Blocks of full prompts stay cached after their last sequence has ended, until their room is needed:
    the least recently used go first, and of one prompt the last (as vLLM frees them).

    Args:
        tokens: its capacity, in tokens.
        block_tokens: tokens of a block.

    Attributes:
        blocks: its capacity, in blocks.
        used: blocks that sequences hold; a block that several hold counts once.
    """

    def __init__(self, tokens: int, block_tokens: int = BLOCK_TOKENS) -> None:
        self.blocks = tokens // block_tokens
        self._block_tokens = block_tokens
        self.used = 0
        self._holders: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._changed: dict[int, int] = {}  # where each ends in its prompt, in tokens; 0: it was evicted
        self._deltas = 0

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1."""
        return self.used / self.blocks

    @property
    def cached(self) -> int:
        """Number of blocks that are cached, held or not."""
        return len(self._holders) + len(self._idle)

    def matched(self, blocks: Sequence[int]) -> int:
        """Return the number of leading blocks that are cached."""
        for count, block in enumerate(blocks):
            if block not in self._holders and block not in self._idle:
                return count
        return len(blocks)

    def take(self, blocks: Sequence[int], tokens: int) -> KvLease | None:
        """Give a sequence its blocks; None: they do not fit now.

        Args:
            blocks: hashes of its prompt's full blocks.
            tokens: tokens of its prompt and of what it will generate.
        """
        matched = self.matched(blocks)
        held, idle = self._holders, self._idle
        again = sum(1 for block in blocks[:matched] if block in idle)
        private = max(0, -(-tokens // self._block_tokens) - matched)
        if self.used + again + private > self.blocks:
            return None
        for block in blocks[:matched]:
            if block in idle:
                del idle[block]
                held[block] = 1
            else:
                held[block] += 1
        self.used += again + private
        while self.used + len(idle) > self.blocks:
            evicted, _ = idle.popitem(last=False)
            self._changed[evicted] = 0
        return KvLease(list(blocks[:matched]), private, matched, self._block_tokens)

    def filled(self, lease: KvLease, blocks: Sequence[int]) -> None:
        """Cache what is computed of a sequence, or has come from elsewhere: its prompt, and at its end its answer.

        A block that another sequence has cached in the meantime stays private: it is there twice.
        """
        held, idle = self._holders, self._idle
        for place, block in enumerate(blocks[lease.matched :], start=lease.matched + 1):
            if block not in held and block not in idle:
                held[block] = 1
                self._changed[block] = place * self._block_tokens
                lease.shared.append(block)
                lease.private -= 1

    def give_back(self, lease: KvLease) -> None:
        """Take a sequence's blocks back: it has ended, or another replica has fetched them."""
        held, idle = self._holders, self._idle
        self.used -= lease.private
        for block in reversed(lease.shared):
            if held[block] > 1:
                held[block] -= 1
            else:
                del held[block]
                idle[block] = None
                self.used -= 1
        lease.shared = []
        lease.private = 0

    def snapshot(self) -> ResidencyDelta:
        """Return the snapshot that begins its residency stream: nothing is cached."""
        return ResidencyDelta(self._deltas, np.empty(0, np.uint64), np.empty(0, np.uint64), snapshot=True)

    def delta(self) -> ResidencyDelta | None:
        """Return what was cached or evicted since the last delta; None: nothing."""
        if not self._changed:
            return None
        kept = [block for block, end in self._changed.items() if end]
        ends = [end for end in self._changed.values() if end]
        gone = [block for block, end in self._changed.items() if not end]
        self._changed.clear()
        self._deltas += 1
        return ResidencyDelta(
            self._deltas, np.array(kept, np.uint64), np.array(gone, np.uint64), tokens=np.array(ends, np.uint32)
        )

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        if not 0 <= self.used <= self.used + len(self._idle) <= self.blocks:
            raise AssertionError(f"{self.used} used and {len(self._idle)} idle of {self.blocks} blocks")
        if len(self._holders) > self.used or min(self._holders.values(), default=1) < 1:
            raise AssertionError("a block is held and not counted")
        if self._holders.keys() & self._idle.keys():
            raise AssertionError("a block is held and idle")
