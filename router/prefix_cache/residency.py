"""Who holds which prefix: one prefix index for a model, filled for each replica by what is known about it.

Two sources fill it. `ObservedReplica` infers: what was sent there is cached there, until the replica's KV capacity has
been used up by later prompts. `ExactReplica` is told: the replica streams what became resident and what was evicted.
Both count a prompt as resident from the moment it is sent: by the time a second one with the same prefix gets its turn
on that replica, the first has been prefilled there. For a replica that caches nothing (`UncachedReplica`) nothing is
claimed.
"""

from typing import Protocol

from router.prefix_cache.exact import ExactReplica, ResidencyDelta
from router.prefix_cache.index import DEFAULT_MAX_SLOTS, PrefixIndex
from router.prefix_cache.match import PrefixMatch
from router.prefix_cache.observed import ObservedReplica
from router.prefix_cache.uncached import UncachedReplica
from router.prefix_cache.write_buffer import IndexWriteBuffer
from router.prompt.chunk_chain import ChunkChain


class ReplicaSource(Protocol):
    """What is known of one replica's cache. Tells the index; the replica is in it already."""

    def sent(self, chain: ChunkChain, held: int, now_s: float) -> int:
        """A prompt was sent to the replica, which held its first `held` chunks.

        Returns:
            A number that names this prompt in `prefilled` and `lost`.
        """
        ...

    def prefilled(self, prompt: int, now_s: float) -> None:
        """The replica has answered the prompt: it has prefilled it."""
        ...

    def lost(self, prompt: int, chain: ChunkChain, held: int) -> None:
        """The prompt ended before the replica prefilled it: nothing of it beyond `held` chunks is there."""
        ...

    def answered(self, answer: ChunkChain) -> None:
        """The replica also holds an answer: these chunks, which go on where its prompt's chain ended."""
        ...

    def resize(self, kv_bytes: int) -> None:
        """The replica's KV cache holds prompts of `kv_bytes` in sum."""
        ...

    def tick(self, now_s: float) -> None:
        """Do what waits; call about once a second."""
        ...

    def check_integrity(self) -> None:
        """Raise `AssertionError` where what must always hold does not."""
        ...


class Mode:
    """How a replica's residency is known."""

    EXACT = "exact"
    OBSERVED = "observed"
    NONE = "none"


class Residency:
    """Every replica's cached prefixes, for one model.

    Args:
        max_slots: bounds the index, see `PrefixIndex`.

    Attributes:
        index: what is claimed for whom.
    """

    def __init__(self, max_slots: int = DEFAULT_MAX_SLOTS) -> None:
        self.index = PrefixIndex(max_slots)
        self._deferred = IndexWriteBuffer(self.index)
        self._sources: dict[str, ReplicaSource] = {}

    def add_replica(self, replica_id: str, *, exact: bool, kv_bytes: int, caches: bool = True) -> None:
        """Know a replica; one that is known already starts anew, without claims.

        Args:
            replica_id: unique for one life of one replica.
            exact: it streams its residency.
            kv_bytes: how many bytes of prompts its KV cache holds.
            caches: False: it caches no prompt at all.
        """
        self.drop_replica(replica_id)
        self.index.add_replica(replica_id)
        if not caches:
            self._sources[replica_id] = UncachedReplica()
        elif exact:
            self._sources[replica_id] = ExactReplica(self.index, replica_id, kv_bytes)
        else:
            self._sources[replica_id] = ObservedReplica(self.index, self._deferred, replica_id, kv_bytes)

    def drop_replica(self, replica_id: str) -> None:
        """Forget a replica that is gone or has restarted; nothing happens where it is not known."""
        self._deferred.flush()  # none of its claims may come to light in its next life
        self._sources.pop(replica_id, None)
        self.index.drop_replica(replica_id)

    def source(self, replica_id: str) -> ReplicaSource | None:
        """Return what is known of a replica, None where it is not known."""
        return self._sources.get(replica_id)

    def match(self, chain: ChunkChain) -> PrefixMatch:
        """Return how many leading chunks of a prompt each replica holds."""
        return self._deferred.match(chain.hashes)

    def apply_delta(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Take what a replica says of its cache.

        Returns:
            False where deltas were lost: the caller must ask the replica for a snapshot. Deltas of replicas that are
            not known, or not exact, are passed over.
        """
        source = self._sources.get(replica_id)
        return source.apply(delta) if isinstance(source, ExactReplica) else True

    def modes(self) -> dict[str, str]:
        """Return how each replica's residency is known: `Mode.EXACT` once its first snapshot has come."""
        return {replica_id: _mode_of(source) for replica_id, source in self._sources.items()}

    def tick(self, now_s: float) -> None:
        """Do what waits; call about once a second."""
        self._deferred.flush()
        for source in self._sources.values():
            source.tick(now_s)
        self.index.sweep()

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self._deferred.flush()
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
