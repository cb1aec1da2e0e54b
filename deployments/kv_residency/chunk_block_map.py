"""Which prompt chunks are resident: each is tied to the KV block that decides it, whether that is stored yet or not."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.prompt.chunk_chain import Hashes

MAX_TIES = 32
"""Chunks tied to one block at the most. One or two is usual; more come of prompts that share a block and go apart
within a chunk. Beyond it the oldest tie goes."""


@dataclass(frozen=True, slots=True)
class Resident:
    """Chunks and where they end.

    Attributes:
        hashes: shape (n,).
        tokens: how many tokens of a prompt it takes to cover each chunk and all before it; shape (n,).
    """

    hashes: Hashes
    tokens: NDArray[np.uint32]


@dataclass(slots=True)
class _Chunk:
    tokens: int
    ties: int = 0
    held: int = 0


class ChunkBlockMap:
    """Ties between chunks and KV blocks.

    A chunk is resident as long as one of the blocks it is tied to is held. It has several where its end lies within a
    block: then each prompt that goes on differently there has a block of its own.

    Args:
        max_pending: blocks remembered that are not held: of prompts that wait for their prefill, or were evicted. The
            one longest unheard of is forgotten, with its ties.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._chunks: dict[int, _Chunk] = {}
        self._held: dict[int, list[int]] = {}
        self._pending: OrderedDict[int, list[int]] = OrderedDict()
        self._changed: set[int] = set()
        self._told: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    def tokens(self, chunk: int) -> int | None:
        """Return where a chunk ends, in tokens; None where it is tied to nothing."""
        known = self._chunks.get(chunk)
        return known.tokens if known is not None else None

    def is_resident(self, chunk: int) -> bool:
        """Tell whether a block that a chunk is tied to is held."""
        known = self._chunks.get(chunk)
        return known is not None and known.held > 0

    def tie(self, chunk: int, block: int, tokens: int, *, is_held: bool) -> None:
        """Let a block decide a chunk.

        Args:
            chunk: its hash.
            block: its key.
            tokens: where the chunk ends.
            is_held: the block is held now.
        """
        if is_held:
            tied = self._held.setdefault(block, [])
        else:
            tied = self._pending.setdefault(block, [])
            self._pending.move_to_end(block)
        if chunk not in tied:
            known = self._chunks.get(chunk)
            if known is None:
                known = self._chunks[chunk] = _Chunk(tokens)
            tied.append(chunk)
            known.ties += 1
            if is_held:
                self._hold(chunk, known)
            if len(tied) > MAX_TIES:
                self._untie(tied.pop(0), is_held=is_held)
        if len(self._pending) > self._max_pending:
            for forgotten in self._pending.popitem(last=False)[1]:
                self._untie(forgotten, is_held=False)

    def appeared(self, block: int) -> None:
        """Note that a block is held that was not."""
        tied = self._pending.pop(block, None)
        if tied is not None:
            self._held[block] = tied
            for chunk in tied:
                self._hold(chunk, self._chunks[chunk])

    def vanished(self, block: int) -> None:
        """Note that a block is held no longer. Its ties stay for a while: a waiting prompt may bring it back."""
        tied = self._held.pop(block, None)
        if tied is None:
            return
        for chunk in tied:
            self._release(chunk, self._chunks[chunk])
        self._pending[block] = tied
        if len(self._pending) > self._max_pending:
            for forgotten in self._pending.popitem(last=False)[1]:
                self._untie(forgotten, is_held=False)

    def _hold(self, chunk: int, known: _Chunk) -> None:
        known.held += 1
        if known.held == 1:
            self._changed.add(chunk)

    def _release(self, chunk: int, known: _Chunk) -> None:
        known.held -= 1
        if not known.held:
            self._changed.add(chunk)

    def _untie(self, chunk: int, *, is_held: bool) -> None:
        known = self._chunks[chunk]
        known.ties -= 1
        if is_held:
            self._release(chunk, known)
        if not known.ties:
            del self._chunks[chunk]

    @property
    def has_changes(self) -> bool:
        """There may be something for `take_changes`."""
        return bool(self._changed)

    def take_changes(self) -> tuple[Resident, Hashes]:
        """Return the chunks that became resident and those that are no longer, since the last call."""
        told = self._told
        resident: dict[int, int] = {}
        evicted: list[int] = []
        for chunk in self._changed:
            known = self._chunks.get(chunk)
            if known is not None and known.held:
                if chunk not in told:
                    resident[chunk] = known.tokens
            elif chunk in told:
                del told[chunk]
                evicted.append(chunk)
        told.update(resident)
        self._changed.clear()
        return _resident(resident), np.array(evicted, np.uint64)

    def all_resident(self) -> Resident:
        """Return every resident chunk as of the last `take_changes`: what all changes taken so far add up to."""
        return _resident(self._told)

    def check_integrity(self) -> None:
        """Check that counts are what the ties say.

        Raises:
            AssertionError: they are not; the message says what is wrong.
        """
        if self._held.keys() & self._pending.keys():
            raise AssertionError("a block is both held and not")
        if len(self._pending) > self._max_pending:
            raise AssertionError(f"{len(self._pending)} blocks are remembered that are not held")
        ties: dict[int, list[int]] = {chunk: [0, 0] for chunk in self._chunks}
        for blocks, is_held in ((self._held, 1), (self._pending, 0)):
            for tied in blocks.values():
                if not 0 < len(tied) == len(set(tied)) <= MAX_TIES:
                    raise AssertionError(f"a block has {len(tied)} ties")
                for chunk in tied:
                    ties[chunk][0] += 1
                    ties[chunk][1] += is_held
        for chunk, known in self._chunks.items():
            if not known.ties or [known.ties, known.held] != ties[chunk]:
                raise AssertionError(f"chunk {chunk:x}: {known} but {ties[chunk]}")
        resident = {chunk for chunk, known in self._chunks.items() if known.held}
        if not resident ^ self._told.keys() <= self._changed:
            raise AssertionError("a chunk changed and nobody will be told")


def _resident(ends: dict[int, int]) -> Resident:
    count = len(ends)
    return Resident(np.fromiter(ends, np.uint64, count), np.fromiter(ends.values(), np.uint32, count))
