"""One replica's residency as a numbered stream: a snapshot to start from, then deltas, of which the latest are kept."""

from collections import deque

import numpy as np

from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from router.prefix_cache.exact import ResidencyDelta

MAX_CHUNKS = 16_384
"""Most chunks in one delta: 200 kB, far below gRPC's limit of 4 MB per message."""
KEPT_CHUNKS = 4 * MAX_CHUNKS
"""Chunks in deltas kept for streams that lag behind; one that lags further gets a snapshot."""
_NONE = np.empty(0, np.uint64)


class ResidencyLog:
    """Makes numbered deltas of what changes in a chunk block map.

    Args:
        chunk_block_map: where the chunks are.
        has_tiers: they may also be in tiers below the device.

    Attributes:
        sequence: number of the last delta; 0 before the first.
    """

    def __init__(self, chunk_block_map: ChunkBlockMap, *, has_tiers: bool = False) -> None:
        self.sequence = 0
        self._chunk_block_map = chunk_block_map
        self._has_tiers = has_tiers
        self._kept: deque[ResidencyDelta] = deque()
        self._kept_chunks = 0

    def flush(self) -> bool:
        """Make deltas of the changes since the last call; return whether there are any."""
        resident, lower, evicted = self._chunk_block_map.take_changes()
        changes = max(len(resident.hashes), len(lower.hashes), len(evicted))
        for start in range(0, changes, MAX_CHUNKS):
            part = slice(start, start + MAX_CHUNKS)
            self.sequence += 1
            delta = ResidencyDelta(
                self.sequence,
                resident.hashes[part],
                evicted[part],
                tokens=resident.tokens[part],
                lower=lower.hashes[part] if self._has_tiers else None,
                lower_tokens=lower.tokens[part],
            )
            self._kept.append(delta)
            self._kept_chunks += _chunks(delta)
        while self._kept_chunks > KEPT_CHUNKS:
            self._kept_chunks -= _chunks(self._kept.popleft())
        return changes > 0

    def since(self, sequence: int) -> list[ResidencyDelta] | None:
        """Return the deltas after number `sequence`; None: some are no longer kept, or there never was that number."""
        behind = self.sequence - sequence
        if not 0 <= behind <= len(self._kept):
            return None
        return [self._kept[at] for at in range(len(self._kept) - behind, len(self._kept))]

    def snapshot(self) -> ResidencyDelta:
        """Return a snapshot: every chunk that is held as of the last delta."""
        resident, lower = self._chunk_block_map.all_resident(), self._chunk_block_map.all_lower()
        return ResidencyDelta(
            self.sequence,
            resident.hashes,
            _NONE,
            snapshot=True,
            tokens=resident.tokens,
            lower=lower.hashes if self._has_tiers else None,
            lower_tokens=lower.tokens,
        )


def _chunks(delta: ResidencyDelta) -> int:
    return len(delta.resident) + len(delta.evicted) + len(delta.lower_tokens)
