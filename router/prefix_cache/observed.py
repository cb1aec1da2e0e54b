"""A replica's cache inferred from what was sent to it: works with any engine, without telemetry."""

from collections.abc import Iterable, Iterator

import numpy as np

from router.prefix_cache.chunk_lru import ChunkLru
from router.prefix_cache.index import PrefixIndex
from router.prefix_cache.small_lru import SmallLru
from router.prefix_cache.write_buffer import IndexWriteBuffer
from router.prompt.chunk_chain import CHUNK_BYTES, ChunkChain, Hashes

SMALL_BYTES = 1 << 20
"""Up to this capacity, a quarter of a million tokens, `SmallLru` is the quicker one; 64 of them take 46 MB."""
LATE = 4
"""What is pushed out is found out once a quarter of the capacity has been used, or at a tick; within these bounds."""
MOST_LATE_CHUNKS = 2048
LEAST_LATE_CHUNKS = 32


class ObservedReplica:
    """What was sent to one replica, aged by its KV capacity.

    Claims count at once; what they push out is found out a little later, for many chunks together.

    Args:
        index: where the claims go.
        deferred: the way they go there.
        replica_id: whose they are.
        kv_bytes: how many bytes of prompts the replica's KV cache holds.
    """

    def __init__(self, index: PrefixIndex, deferred: IndexWriteBuffer, replica_id: str, kv_bytes: int) -> None:
        self._index = index
        self._deferred = deferred
        self._replica_id = replica_id
        self._lru: SmallLru | ChunkLru = SmallLru(kv_bytes) if kv_bytes <= SMALL_BYTES else ChunkLru(kv_bytes)
        self._late_chunks = _late_chunks(kv_bytes)
        self._waiting: list[ChunkChain] = []
        self._waiting_chunks = 0

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """Claim the prompt."""
        del now_s
        if held < len(chain):
            self._deferred.claim(self._replica_id, chain.hashes[held:])
        self._use(chain)
        return 0

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Do nothing: the prompt is claimed already."""

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Take the claims back."""
        del prompt
        if held < len(chain):
            self.flush()
            unique = np.unique(chain.hashes[held:])
            self._lru.remove(unique)
            self._deferred.evict(self._replica_id, unique)

    def answered(self, answer: ChunkChain) -> None:
        """Claim the answer too; the prompt is claimed already."""
        self._deferred.claim(self._replica_id, answer.hashes)
        self._use(answer)

    def resize(self, kv_bytes: int) -> None:
        """Age claims by another capacity from now on."""
        self.flush()
        self._late_chunks = _late_chunks(kv_bytes)
        self._evict(self._lru.resize(kv_bytes))
        if kv_bytes > SMALL_BYTES and isinstance(self._lru, SmallLru):
            small, self._lru = self._lru, ChunkLru(kv_bytes)
            self._evict(self._lru.use(small.hashes(), small.sizes()))

    def tick(self, now_s: float) -> None:
        """Age the claims."""
        del now_s
        self.flush()

    def _use(self, chain: ChunkChain) -> None:
        """Let the chunks be used, soon."""
        if not len(chain):
            return
        self._waiting.append(chain)
        self._waiting_chunks += len(chain)
        if self._waiting_chunks >= self._late_chunks:
            self.flush()

    def flush(self) -> None:
        """Age the claims by all that was sent."""
        if not self._waiting:
            return
        self._waiting.reverse()  # the LRU takes what stands first for the latest used
        hashes = np.concatenate([chain.hashes for chain in self._waiting])
        sizes = np.fromiter(_sizes(self._waiting), np.int64, len(hashes))
        self._waiting.clear()
        self._waiting_chunks = 0
        self._evict(self._lru.use(hashes, sizes))

    def _evict(self, hashes: Hashes) -> None:
        if len(hashes):
            self._deferred.evict(self._replica_id, hashes)

    def held(self) -> Hashes:
        """Return the chunks claimed, in no order."""
        self.flush()
        return self._lru.hashes()

    def check_integrity(self) -> None:
        """Check that the LRU and the index agree.

        Raises:
            AssertionError: they do not.
        """
        self._lru.check_integrity()
        self._deferred.flush()
        held = self._lru.hashes()
        if not self._waiting and self._index.claims(self._replica_id) > len(held):
            raise AssertionError(f"{self._replica_id}: claims that nothing ages")


def _late_chunks(kv_bytes: int) -> int:
    return min(MOST_LATE_CHUNKS, max(LEAST_LATE_CHUNKS, kv_bytes // (LATE * CHUNK_BYTES)))


def _sizes(waiting: Iterable[ChunkChain]) -> Iterator[int]:
    """Yield the bytes of each chunk."""
    for chain in waiting:
        before = 0
        for end in chain.ends:
            yield end - before
            before = end
