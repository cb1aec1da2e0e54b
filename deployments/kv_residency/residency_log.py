"""The residency of one replica as a numbered stream: deltas, kept for a while, and a snapshot to start from."""

from collections import deque

import numpy as np

from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from router.prefix_cache.exact import ResidencyDelta

MAX_CHUNKS = 16_384
"""Chunks in one delta at the most: 200 kB, far below gRPC's limit of 4 MB a message."""
KEPT_CHUNKS = 4 * MAX_CHUNKS
"""Chunks of deltas kept for streams that lag behind; one that lags further gets a snapshot."""
_NONE = np.empty(0, np.uint64)


class ResidencyLog:
    """Numbers what changes.

    Attributes:
        sequence: the number of the last delta; 0 before the first.
    """

    def __init__(self, ties: ChunkBlockMap) -> None:
        self.sequence = 0
        self._ties = ties
        self._kept: deque[ResidencyDelta] = deque()
        self._kept_chunks = 0

    def flush(self) -> bool:
        """Make deltas of what has changed since the last call; returns whether there are any."""
        resident, evicted = self._ties.take_changes()
        changes = max(len(resident.hashes), len(evicted))
        for start in range(0, changes, MAX_CHUNKS):
            part = slice(start, start + MAX_CHUNKS)
            self.sequence += 1
            delta = ResidencyDelta(self.sequence, resident.hashes[part], evicted[part], tokens=resident.tokens[part])
            self._kept.append(delta)
            self._kept_chunks += _chunks(delta)
        while self._kept_chunks > KEPT_CHUNKS:
            self._kept_chunks -= _chunks(self._kept.popleft())
        return changes > 0

    def since(self, sequence: int) -> list[ResidencyDelta] | None:
        """Return the deltas after number `sequence`; None where they are no longer kept, or never were."""
        behind = self.sequence - sequence
        if not 0 <= behind <= len(self._kept):
            return None
        return [self._kept[at] for at in range(len(self._kept) - behind, len(self._kept))]

    def snapshot(self) -> ResidencyDelta:
        """Return all that is resident as of the last delta."""
        resident = self._ties.all_resident()
        return ResidencyDelta(self.sequence, resident.hashes, _NONE, snapshot=True, tokens=resident.tokens)


def _chunks(delta: ResidencyDelta) -> int:
    return len(delta.resident) + len(delta.evicted)
