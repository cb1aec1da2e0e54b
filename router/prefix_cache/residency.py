"""Which replica of a model holds which prefix: one prefix index, filled by one source for each replica.

`ObservedReplica` infers: a prompt sent to the replica is cached there until later prompts have used up its KV capacity.
`ExactReplica` applies what the replica streams: chunks that became resident and chunks that were evicted. Both count a
prompt as resident from the moment it is sent: by the time a second prompt with the same prefix gets its turn on that
replica, the first has been prefilled there. `UncachedReplica` claims nothing, for a replica that caches nothing.
"""

from typing import Final, Protocol

from router.prefix_cache.exact import ExactReplica, ResidencyDelta
from router.prefix_cache.index import DEFAULT_MAX_SLOTS, PrefixIndex
from router.prefix_cache.match import PrefixMatch
from router.prefix_cache.observed import ObservedReplica
from router.prefix_cache.uncached import UncachedReplica
from router.prefix_cache.write_buffer import IndexWriteBuffer
from router.prompt.chunk_chain import ChunkChain


class ReplicaSource(Protocol):
    """What is known of one replica's cache. It writes claims to the index, which must know the replica already."""

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """Note that a prompt was sent to the replica, which held its first `held` chunks.

        Returns:
            The number of this prompt in later calls of `prefilled` and `lost`.
        """
        ...

    def prefilled(self, prompt: int, now_s: float) -> None:
        """Note that the replica has begun to answer the prompt, so it has prefilled it."""
        ...

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """Note that the prompt ended before it was prefilled: the replica holds only its first `held` chunks."""
        ...

    def answered(self, answer: ChunkChain) -> None:
        """Note that the replica also holds an answer: the chunks that continue its prompt's chain."""
        ...

    def resize(self, kv_bytes: int) -> None:
        """Set how many bytes of prompts the replica's KV cache holds."""
        ...

    def tick(self, now_s: float) -> None:
        """Do the upkeep that is due; call about once a second."""
        ...

    def check_integrity(self) -> None:
        """Raise `AssertionError` where an invariant is broken."""
        ...


class Mode:
    """How a replica's residency is known."""

    EXACT: Final = "exact"
    OBSERVED: Final = "observed"
    NONE: Final = "none"


class Residency:
    """Every replica's cached prefixes, for one model.

    Args:
        max_slots: upper bound of the index's slots, see `PrefixIndex`.

    Attributes:
        index: the chunks claimed for each replica.
    """

    def __init__(self, max_slots: int = DEFAULT_MAX_SLOTS) -> None:
        self.index = PrefixIndex(max_slots)
        self._write_buffer = IndexWriteBuffer(self.index)
        self._sources: dict[str, ReplicaSource] = {}

    def add_replica(self, replica_id: str, *, exact: bool, kv_bytes: int, caches: bool = True) -> None:
        """Add a replica; one that is known already starts anew, without claims.

        Args:
            replica_id: unique for one life of one replica.
            exact: the replica streams its residency.
            kv_bytes: bytes of prompts that its KV cache holds.
            caches: False where it caches no prompt at all.
        """
        self.drop_replica(replica_id)
        self.index.add_replica(replica_id)
        if not caches:
            self._sources[replica_id] = UncachedReplica()
        elif exact:
            self._sources[replica_id] = ExactReplica(self.index, replica_id, kv_bytes)
        else:
            self._sources[replica_id] = ObservedReplica(self.index, self._write_buffer, replica_id, kv_bytes)

    def drop_replica(self, replica_id: str) -> None:
        """Forget a replica that is gone or has restarted; do nothing where it is not known."""
        self._write_buffer.flush()  # a claim of its old life must not count in its next one
        self._sources.pop(replica_id, None)
        self.index.drop_replica(replica_id)

    def source(self, replica_id: str) -> ReplicaSource | None:
        """Return the source of a replica's claims; None where the replica is not known."""
        return self._sources.get(replica_id)

    def match(self, chain: ChunkChain) -> PrefixMatch:
        """Return how many leading chunks of a prompt each replica holds."""
        return self._write_buffer.match(chain.hashes)

    def apply_delta(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Apply what a replica reports of its cache; ignore replicas that are not known or not exact.

        Returns:
            False where deltas were lost: the caller must ask the replica for a snapshot.
        """
        source = self._sources.get(replica_id)
        return source.apply(delta) if isinstance(source, ExactReplica) else True

    def modes(self) -> dict[str, str]:
        """Return how each replica's residency is known, by id; `Mode.EXACT` only while its stream is in step."""
        return {replica_id: _mode_of(source) for replica_id, source in self._sources.items()}

    def tick(self, now_s: float) -> None:
        """Do the upkeep that is due; call about once a second."""
        self._write_buffer.flush()
        for source in self._sources.values():
            source.tick(now_s)
        self.index.sweep()

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        self._write_buffer.flush()
        self.index.check_integrity()
        if set(self._sources) != set(self.index.replicas):
            raise AssertionError("the index and the sources know different replicas")
        for source in self._sources.values():
            source.check_integrity()


def _mode_of(source: ReplicaSource) -> str:
    if isinstance(source, UncachedReplica):
        return Mode.NONE
    return Mode.EXACT if isinstance(source, ExactReplica) and source.synced else Mode.OBSERVED


__all__ = [
    "ExactReplica",
    "Mode",
    "ObservedReplica",
    "ReplicaSource",
    "Residency",
    "ResidencyDelta",
]
