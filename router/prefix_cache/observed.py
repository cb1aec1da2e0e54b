"""A replica's cache as inferred from the prompts sent to it: works with any engine, without telemetry."""

from typing import Final, final

from router.prefix_cache.observed_index import SWEEP_CHUNKS, ObservedIndex
from router.prompt.chunk_chain import ChunkChain

OVER_PARTS: Final = 64
"""Part of the KV capacity, one in so many, by which claims may exceed it before chunks are evicted: between evictions
a dict keeps the places of deleted keys, and each look for its oldest key passes over them. A tick evicts all excess."""

SHRINK_CHUNKS: Final = 1024
"""Most chunks that one request evicts because the replica has more than its share of all claims."""


@final
class ObservedReplica:
    """What was sent to one replica and still fits in its KV cache; the least recently used chunks are evicted.

    The end of a prompt is evicted before its start, as engines free a sequence's blocks (vLLM in reverse order): a
    start without its end can still be used, an end without its start cannot.

    Args:
        index: receives the claims.
        replica_id: the replica; the index must not know it yet.
        kv_bytes: bytes of prompts that the replica's KV cache holds.
    """

    def __init__(self, index: ObservedIndex, replica_id: str, kv_bytes: int) -> None:
        self._index = index
        self._lru = index.join(replica_id)
        self._kv_bytes = kv_bytes

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """Claim the prompt; return 0, as this source needs no number for it."""
        del held, now_s
        self._use(chain)
        return 0

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Do nothing: the prompt was claimed when it was sent."""

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Take the prompt's claims beyond its first `held` chunks back."""
        del prompt
        self._index.release(self._lru, chain.hashes[held:])

    def answered(self, answer: ChunkChain) -> None:
        """Claim the answer's chunks."""
        self._use(answer)

    def resize(self, kv_bytes: int) -> None:
        """Change the capacity; evict what no longer fits."""
        self._kv_bytes = kv_bytes
        self._evict(SWEEP_CHUNKS)

    def tick(self, now_s: float) -> None:
        """Evict what exceeds the capacity, or this replica's share of all claims."""
        del now_s
        self._evict(SWEEP_CHUNKS)

    def _use(self, chain: ChunkChain) -> None:
        """Make a chain's chunks the latest used, the first of them last; evict for those that are new."""
        lru, index = self._lru, self._index
        if not index.use(lru, chain.hashes, chain.ends):
            return
        if lru.held_bytes > self._kv_bytes + self._kv_bytes // OVER_PARTS or index.claims > index.max_claims:
            self._evict(SHRINK_CHUNKS)

    def _evict(self, most: int) -> None:
        """Evict the least recently used chunks until the rest fit in the capacity, and in the share of all claims.

        Args:
            most: chunks evicted at most where it is the share that they exceed.
        """
        lru, index = self._lru, self._index
        excess_bytes = max(0, lru.held_bytes - self._kv_bytes)
        excess = min(most, len(lru.sizes) - index.share) if index.claims > index.max_claims else 0
        if excess_bytes or excess > 0:
            index.evict(lru, excess_bytes, excess)

    def check_integrity(self) -> None:
        """Check that the chunks fit in the capacity and its tolerance.

        Raises:
            AssertionError: they do not.
        """
        if self._lru.held_bytes > self._kv_bytes + self._kv_bytes // OVER_PARTS:
            raise AssertionError(f"{self._lru.replica_id}: {self._lru.held_bytes} of {self._kv_bytes} bytes are held")
