"""Which prompt chunks are resident: maps each chunk to the KV blocks that decide it, stored yet or not."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.prompt.chunk_chain import Hashes

MAX_CHUNKS_PER_BLOCK = 32
"""Most chunks that one block decides; beyond it the oldest is dropped.

One or two are usual. More come from prompts that share a block and differ within a chunk.
"""


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident chunks and where each ends.

    Attributes:
        hashes: the chunks' hashes; shape (n,).
        tokens: tokens from the prompt's start to each chunk's end; shape (n,).
    """

    hashes: Hashes
    tokens: NDArray[np.uint32]


@dataclass(slots=True)
class _Chunk:
    """One chunk.

    Attributes:
        tokens: tokens from the prompt's start to the chunk's end.
        blocks: blocks that decide it.
        held_blocks: those of them that the engine holds.
    """

    tokens: int
    blocks: int = 0
    held_blocks: int = 0


class ChunkBlockMap:
    """Maps prompt chunks to the KV blocks that decide whether they are resident.

    A chunk is resident while the engine holds at least one of its blocks. A chunk that ends within a block can have
    several: prompts that continue differently after the chunk have different blocks there.

    Args:
        max_pending: most blocks remembered that are not held, because their prompt waits for its prefill or they were
            evicted. Beyond it the block that was used longest ago is forgotten, with its chunks.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._chunks: dict[int, _Chunk] = {}
        self._held: dict[int, list[int]] = {}
        self._pending: OrderedDict[int, list[int]] = OrderedDict()
        self._changed: set[int] = set()
        self._reported: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    def tokens(self, chunk: int) -> int | None:
        """Return where a chunk ends, in tokens from the prompt's start; None: the chunk has no block."""
        known = self._chunks.get(chunk)
        return known.tokens if known is not None else None

    def is_resident(self, chunk: int) -> bool:
        """Return whether the engine holds at least one of a chunk's blocks."""
        known = self._chunks.get(chunk)
        return known is not None and known.held_blocks > 0

    def add(self, chunk: int, block: int, tokens: int, *, is_held: bool) -> None:
        """Map a chunk to a block: while the engine holds the block, the chunk is resident.

        Args:
            chunk: the chunk's hash.
            block: the block's key.
            tokens: where the chunk ends, in tokens from the prompt's start.
            is_held: the engine holds the block now.
        """
        if is_held:
            chunks = self._held.setdefault(block, [])
        else:
            chunks = self._pending.setdefault(block, [])
            self._pending.move_to_end(block)
        if chunk not in chunks:
            known = self._chunks.get(chunk)
            if known is None:
                known = self._chunks[chunk] = _Chunk(tokens)
            chunks.append(chunk)
            known.blocks += 1
            if is_held:
                self._hold(chunk, known)
            if len(chunks) > MAX_CHUNKS_PER_BLOCK:
                self._remove(chunks.pop(0), is_held=is_held)
        if len(self._pending) > self._max_pending:
            for forgotten in self._pending.popitem(last=False)[1]:
                self._remove(forgotten, is_held=False)

    def appeared(self, block: int) -> None:
        """Record that the engine now holds a block that it did not hold."""
        chunks = self._pending.pop(block, None)
        if chunks is not None:
            self._held[block] = chunks
            for chunk in chunks:
                self._hold(chunk, self._chunks[chunk])

    def vanished(self, block: int) -> None:
        """Record that the engine no longer holds a block; its chunks stay mapped, for a prompt may bring it back."""
        chunks = self._held.pop(block, None)
        if chunks is None:
            return
        for chunk in chunks:
            self._release(chunk, self._chunks[chunk])
        self._pending[block] = chunks
        if len(self._pending) > self._max_pending:
            for forgotten in self._pending.popitem(last=False)[1]:
                self._remove(forgotten, is_held=False)

    def _hold(self, chunk: int, known: _Chunk) -> None:
        known.held_blocks += 1
        if known.held_blocks == 1:
            self._changed.add(chunk)

    def _release(self, chunk: int, known: _Chunk) -> None:
        known.held_blocks -= 1
        if not known.held_blocks:
            self._changed.add(chunk)

    def _remove(self, chunk: int, *, is_held: bool) -> None:
        known = self._chunks[chunk]
        known.blocks -= 1
        if is_held:
            self._release(chunk, known)
        if not known.blocks:
            del self._chunks[chunk]

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` may have something to return."""
        return bool(self._changed)

    def take_changes(self) -> tuple[Resident, Hashes]:
        """Return what changed since the last call: chunks that became resident, and hashes of chunks evicted."""
        reported = self._reported
        resident: dict[int, int] = {}
        evicted: list[int] = []
        for chunk in self._changed:
            known = self._chunks.get(chunk)
            if known is not None and known.held_blocks:
                if chunk not in reported:
                    resident[chunk] = known.tokens
            elif chunk in reported:
                del reported[chunk]
                evicted.append(chunk)
        reported.update(resident)
        self._changed.clear()
        return _resident(resident), np.array(evicted, np.uint64)

    def all_resident(self) -> Resident:
        """Return every chunk that was resident at the last `take_changes`: the sum of all changes taken so far."""
        return _resident(self._reported)

    def check_integrity(self) -> None:
        """Check that each chunk's counts agree with the blocks.

        Raises:
            AssertionError: they do not; the message says what is wrong.
        """
        if self._held.keys() & self._pending.keys():
            raise AssertionError("a block is both held and not")
        if len(self._pending) > self._max_pending:
            raise AssertionError(f"{len(self._pending)} blocks are remembered that are not held")
        counts: dict[int, list[int]] = {chunk: [0, 0] for chunk in self._chunks}
        for blocks, is_held in ((self._held, 1), (self._pending, 0)):
            for chunks in blocks.values():
                if not 0 < len(chunks) == len(set(chunks)) <= MAX_CHUNKS_PER_BLOCK:
                    raise AssertionError(f"a block has {len(chunks)} chunks")
                for chunk in chunks:
                    counts[chunk][0] += 1
                    counts[chunk][1] += is_held
        for chunk, known in self._chunks.items():
            if not known.blocks or [known.blocks, known.held_blocks] != counts[chunk]:
                raise AssertionError(f"chunk {chunk:x}: {known} but {counts[chunk]}")
        resident = {chunk for chunk, known in self._chunks.items() if known.held_blocks}
        if not resident ^ self._reported.keys() <= self._changed:
            raise AssertionError("a chunk changed but `take_changes` would not return it")


def _resident(ends: dict[int, int]) -> Resident:
    count = len(ends)
    return Resident(np.fromiter(ends, np.uint64, count), np.fromiter(ends.values(), np.uint32, count))
