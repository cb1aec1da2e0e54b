"""A replica's cache as inferred from the prompts sent to it: works with any engine, without telemetry."""

from collections.abc import Iterable, Iterator

import numpy as np

from router.prefix_cache.chunk_lru import ChunkLru
from router.prefix_cache.index import PrefixIndex
from router.prefix_cache.small_lru import SmallLru
from router.prefix_cache.write_buffer import IndexWriteBuffer
from router.prompt.chunk_chain import CHUNK_BYTES, ChunkChain, Hashes

SMALL_BYTES = 1 << 20
"""KV capacity, in bytes of prompts, up to which `SmallLru` is faster: a quarter of a million tokens. 64 of them take
46 MB."""
AGE_PARTS = 4
"""Parts of the KV capacity. Uses go to the LRU, which says what they evict, once they fill one part, or at a tick."""
MAX_AGE_CHUNKS = 2048
MIN_AGE_CHUNKS = 32
"""Bounds, in chunks, of the uses handed to the LRU together."""


class ObservedReplica:
    """What was sent to one replica and still fits in its KV cache.

    A claim counts at once. What it evicts is found out a little later, for many chunks together, which is cheaper.

    Args:
        index: the index the claims end up in.
        write_buffer: receives the claims.
        replica_id: the replica.
        kv_bytes: bytes of prompts that the replica's KV cache holds.
    """

    def __init__(self, index: PrefixIndex, write_buffer: IndexWriteBuffer, replica_id: str, kv_bytes: int) -> None:
        self._index = index
        self._write_buffer = write_buffer
        self._replica_id = replica_id
        self._lru: SmallLru | ChunkLru = SmallLru(kv_bytes) if kv_bytes <= SMALL_BYTES else ChunkLru(kv_bytes)
        self._age_chunks = _age_chunks(kv_bytes)
        self._waiting: list[ChunkChain] = []
        self._waiting_chunks = 0

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """Claim the prompt; return 0, as this source needs no number for it."""
        del now_s
        if held < len(chain):
            self._write_buffer.claim(self._replica_id, chain.hashes[held:])
        self._use(chain)
        return 0

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Do nothing: the prompt was claimed when it was sent."""

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Take the prompt's claims beyond its first `held` chunks back."""
        del prompt
        if held < len(chain):
            self.flush()
            unique = np.unique(chain.hashes[held:])
            self._lru.remove(unique)
            self._write_buffer.evict(self._replica_id, unique)

    def answered(self, answer: ChunkChain) -> None:
        """Claim the answer's chunks."""
        self._write_buffer.claim(self._replica_id, answer.hashes)
        self._use(answer)

    def resize(self, kv_bytes: int) -> None:
        """Change the capacity by which claims are aged; evict what no longer fits."""
        self.flush()
        self._age_chunks = _age_chunks(kv_bytes)
        self._evict(self._lru.resize(kv_bytes))
        if kv_bytes > SMALL_BYTES and isinstance(self._lru, SmallLru):
            small, self._lru = self._lru, ChunkLru(kv_bytes)
            self._evict(self._lru.use(small.hashes(), small.sizes()))

    def tick(self, now_s: float) -> None:
        """Evict what later prompts have pushed out by now."""
        del now_s
        self.flush()

    def _use(self, chain: ChunkChain) -> None:
        """Note a use of these chunks for the LRU."""
        if not len(chain):
            return
        self._waiting.append(chain)
        self._waiting_chunks += len(chain)
        if self._waiting_chunks >= self._age_chunks:
            self.flush()

    def flush(self) -> None:
        """Hand the noted uses to the LRU and evict what they push out."""
        if not self._waiting:
            return
        self._waiting.reverse()  # the LRU takes the first chunk as the latest used
        hashes = np.concatenate([chain.hashes for chain in self._waiting])
        sizes = np.fromiter(_sizes(self._waiting), np.int64, len(hashes))
        self._waiting.clear()
        self._waiting_chunks = 0
        self._evict(self._lru.use(hashes, sizes))

    def _evict(self, hashes: Hashes) -> None:
        if len(hashes):
            self._write_buffer.evict(self._replica_id, hashes)

    def check_integrity(self) -> None:
        """Check that the index holds no more claims than the LRU, which ages them.

        Raises:
            AssertionError: it does.
        """
        self._lru.check_integrity()
        self._write_buffer.flush()
        held = self._lru.hashes()
        if not self._waiting and self._index.claims(self._replica_id) > len(held):
            raise AssertionError(f"{self._replica_id}: claims that no LRU ages")


def _age_chunks(kv_bytes: int) -> int:
    return min(MAX_AGE_CHUNKS, max(MIN_AGE_CHUNKS, kv_bytes // (AGE_PARTS * CHUNK_BYTES)))


def _sizes(waiting: Iterable[ChunkChain]) -> Iterator[int]:
    """Yield the size of each chunk, in bytes."""
    for chain in waiting:
        before = 0
        for end in chain.ends:
            yield end - before
            before = end
