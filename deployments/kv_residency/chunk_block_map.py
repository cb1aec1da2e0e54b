"""Which prompt chunks are resident: maps each chunk to the KV blocks that decide it, stored yet or not."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deployments.kv_residency.place import Place
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


class Changes(NamedTuple):
    """What changed of prompt chunks.

    Attributes:
        resident: those that are on the device now.
        lower: those that are only in a tier below the device now.
        evicted: hashes of those that were told of and have left their place, unless they are on the device now. One
            that is also in `lower` stands there at the same position.
    """

    resident: Resident
    lower: Resident
    evicted: Hashes


class _Chunk:
    """One chunk.

    Attributes:
        tokens: tokens from the prompt's start to the chunk's end.
        blocks: blocks that decide it, by their place.
    """

    __slots__ = ("blocks", "tokens")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.blocks = [0, 0, 0]

    @property
    def place(self) -> Place:
        """Where the best of its blocks is."""
        _, lower, device = self.blocks
        return Place.DEVICE if device else Place.LOWER if lower else Place.NOWHERE


class ChunkBlockMap:
    """Maps prompt chunks to the KV blocks that decide whether they are resident.

    A chunk is where the best of its blocks is: resident while the device holds at least one of them. A chunk that ends
    within a block can have several: prompts that continue differently after the chunk have different blocks there.

    Args:
        max_pending: most blocks remembered that are nowhere, because their prompt waits for its prefill or they were
            evicted. Beyond it the block that was used longest ago is forgotten, with its chunks.
    """

    def __init__(self, max_pending: int) -> None:
        self._max_pending = max_pending
        self._chunks: dict[int, _Chunk] = {}
        self._pending: OrderedDict[int, list[int]] = OrderedDict()
        self._blocks: tuple[dict[int, list[int]], ...] = (self._pending, {}, {})
        self._changed: set[int] = set()
        self._reported: dict[int, int] = {}
        self._reported_lower: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._chunks)

    def tokens(self, chunk: int) -> int | None:
        """Return where a chunk ends, in tokens from the prompt's start; None: the chunk has no block."""
        known = self._chunks.get(chunk)
        return known.tokens if known is not None else None

    def is_resident(self, chunk: int) -> bool:
        """Return whether the device holds at least one of a chunk's blocks."""
        return self.place(chunk) is Place.DEVICE

    def place(self, chunk: int) -> Place:
        """Return where a chunk is."""
        known = self._chunks.get(chunk)
        return known.place if known is not None else Place.NOWHERE

    def add(self, chunk: int, block: int, tokens: int, *, place: Place) -> None:
        """Map a chunk to a block: from then on it is where the block is, or better.

        Args:
            chunk: the chunk's hash.
            block: the block's key.
            tokens: where the chunk ends, in tokens from the prompt's start.
            place: where the block is now.
        """
        chunks = self._blocks[place].setdefault(block, [])
        if place is Place.NOWHERE:
            self._pending.move_to_end(block)
        if chunk not in chunks:
            known = self._chunks.get(chunk)
            if known is None:
                known = self._chunks[chunk] = _Chunk(tokens)
            chunks.append(chunk)
            known.blocks[place] += 1
            self._note(chunk, place)
            if len(chunks) > MAX_CHUNKS_PER_BLOCK:
                self._remove(chunks.pop(0), place)
        self._trim()

    def moved(self, block: int, place: Place) -> None:
        """Record where a block is now; one that is nowhere stays mapped, for a prompt may bring it back."""
        for before in Place:
            chunks = self._blocks[before].pop(block, None)
            if chunks is not None:
                break
        else:
            return
        self._blocks[place][block] = chunks
        for chunk in chunks:
            blocks = self._chunks[chunk].blocks
            blocks[before] -= 1
            blocks[place] += 1
            self._note(chunk, max(before, place))
        self._trim()

    def _note(self, chunk: int, place: Place) -> None:
        """Note that a block of a chunk came to a place or left it, which matters if no more than one is there."""
        if place and self._chunks[chunk].blocks[place] <= 1:
            self._changed.add(chunk)

    def _trim(self) -> None:
        if len(self._pending) > self._max_pending:
            for forgotten in self._pending.popitem(last=False)[1]:
                self._remove(forgotten, Place.NOWHERE)

    def _remove(self, chunk: int, place: Place) -> None:
        known = self._chunks[chunk]
        known.blocks[place] -= 1
        self._note(chunk, place)
        if not any(known.blocks):
            del self._chunks[chunk]

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` may have something to return."""
        return bool(self._changed)

    def take_changes(self) -> Changes:
        """Return what changed since the last call."""
        reported, lower = self._reported, self._reported_lower
        resident: dict[int, int] = {}
        sunk: dict[int, int] = {}
        risen: dict[int, int] = {}
        evicted: list[int] = []
        for chunk in self._changed:
            known = self._chunks.get(chunk)
            place = known.place if known is not None else Place.NOWHERE
            if known is not None and place is Place.DEVICE:
                if chunk not in reported:
                    resident[chunk] = known.tokens
                    lower.pop(chunk, None)
            elif known is not None and place is Place.LOWER:
                if reported.pop(chunk, None) is not None:
                    sunk[chunk] = known.tokens
                elif chunk not in lower:
                    risen[chunk] = known.tokens
            elif chunk in reported or chunk in lower:
                reported.pop(chunk, None)
                lower.pop(chunk, None)
                evicted.append(chunk)
        reported.update(resident)
        lower.update(sunk)
        lower.update(risen)
        self._changed.clear()
        return Changes(_resident(resident), _resident(sunk | risen), np.array([*sunk, *evicted], np.uint64))

    def all_resident(self) -> Resident:
        """Return every chunk that was resident at the last `take_changes`: the sum of all changes taken so far."""
        return _resident(self._reported)

    def all_lower(self) -> Resident:
        """Return every chunk that was only in a tier below the device at the last `take_changes`."""
        return _resident(self._reported_lower)

    def check_integrity(self) -> None:
        """Check that each chunk's counts agree with the blocks.

        Raises:
            AssertionError: they do not; the message says what is wrong.
        """
        pending, lower, device = self._blocks
        if lower.keys() & device.keys() or pending.keys() & (lower.keys() | device.keys()):
            raise AssertionError("a block is at two places")
        if len(pending) > self._max_pending:
            raise AssertionError(f"{len(pending)} blocks are remembered that are nowhere")
        counts: dict[int, list[int]] = {chunk: [0, 0, 0] for chunk in self._chunks}
        for place, blocks in enumerate(self._blocks):
            for chunks in blocks.values():
                if not 0 < len(chunks) == len(set(chunks)) <= MAX_CHUNKS_PER_BLOCK:
                    raise AssertionError(f"a block has {len(chunks)} chunks")
                for chunk in chunks:
                    counts[chunk][place] += 1
        for chunk, known in self._chunks.items():
            if not any(known.blocks) or known.blocks != counts[chunk]:
                raise AssertionError(f"chunk {chunk:x}: {known.blocks} but {counts[chunk]}")
        self._check_reported()

    def _check_reported(self) -> None:
        if self._reported.keys() & self._reported_lower.keys():
            raise AssertionError("a chunk was told of at two places")
        for place, told in ((Place.DEVICE, self._reported), (Place.LOWER, self._reported_lower)):
            there = {chunk for chunk, known in self._chunks.items() if known.place is place}
            if not there ^ told.keys() <= self._changed:
                raise AssertionError("a chunk changed but `take_changes` would not return it")


def _resident(ends: dict[int, int]) -> Resident:
    count = len(ends)
    return Resident(np.fromiter(ends, np.uint64, count), np.fromiter(ends.values(), np.uint32, count))
