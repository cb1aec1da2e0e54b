"""Which replica of a model holds which prefix: asked here, and known by one source for each replica.

`ObservedReplica` infers: a prompt sent to the replica is cached there until later prompts have used up its KV capacity.
`ExactReplica` applies what the replica streams: chunks that became resident and chunks that were evicted. Both count a
prompt as resident from the moment it is sent: by the time a second prompt with the same prefix gets its turn on that
replica, the first has been prefilled there. `UncachedReplica` claims nothing, for a replica that caches nothing.
"""

from typing import Final, Protocol

import numpy as np

from router.prefix_cache.exact import ExactReplica, ResidencyDelta
from router.prefix_cache.index import DEFAULT_MAX_SLOTS, PrefixIndex
from router.prefix_cache.match import PrefixMatch
from router.prefix_cache.observed import ObservedReplica
from router.prefix_cache.observed_index import ObservedIndex
from router.prefix_cache.uncached import UncachedReplica
from router.prompt.chunk_chain import ChunkChain


class ReplicaSource(Protocol):
    """What is known of one replica's cache. It writes claims to the index of its kind."""

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

    What replicas report fills a compact table, as it comes in batches and can be millions of chunks. What was sent to
    the others comes prompt by prompt, for which a dict is faster. A lookup asks both and gives one answer.

    Args:
        max_slots: upper bound of the slots for what replicas report, see `PrefixIndex`.

    Attributes:
        exact: the chunks of the replicas that report them.
        observed: the chunks of the others.
    """

    def __init__(self, max_slots: int = DEFAULT_MAX_SLOTS) -> None:
        self.exact = PrefixIndex(max_slots)
        self.observed = ObservedIndex()
        self._sources: dict[str, ReplicaSource] = {}
        self._tiered: dict[str, str] = {}
        self._exact_replicas = 0

    def add_replica(self, replica_id: str, *, exact: bool, kv_bytes: int, caches: bool = True) -> None:
        """Add a replica; one that is known already starts anew, without claims.

        Args:
            replica_id: unique for one life of one replica.
            exact: the replica streams its residency.
            kv_bytes: bytes of prompts that its KV cache holds.
            caches: False where it caches no prompt at all.
        """
        self.drop_replica(replica_id)
        if not caches:
            self._sources[replica_id] = UncachedReplica()
        elif exact:
            self.exact.add_replica(replica_id)
            self._exact_replicas += 1
            self._sources[replica_id] = ExactReplica(self.exact, replica_id, kv_bytes)
        else:
            self._sources[replica_id] = ObservedReplica(self.observed, replica_id, kv_bytes)

    def drop_replica(self, replica_id: str) -> None:
        """Forget a replica that is gone or has restarted; do nothing where it is not known."""
        source = self._sources.pop(replica_id, None)
        self._tiered.pop(replica_id, None)
        if isinstance(source, ExactReplica):
            self._exact_replicas -= 1
            source.leave()
        elif isinstance(source, ObservedReplica):
            self.observed.leave(replica_id)

    @property
    def replicas(self) -> list[str]:
        """The ids of known replicas."""
        return list(self._sources)

    def claims(self, replica_id: str) -> int:
        """Return how many chunks a replica is believed to hold; 0 where it is not known."""
        return self.exact.claims(replica_id) or self.observed.claims_of(replica_id)

    def source(self, replica_id: str) -> ReplicaSource | None:
        """Return the source of a replica's claims; None where the replica is not known."""
        return self._sources.get(replica_id)

    def match(self, chain: ChunkChain) -> PrefixMatch:
        """Return how many leading chunks of a prompt each replica holds."""
        counts: dict[str, int] = {}
        longest = self.observed.match(chain.hashes, counts)
        if not self._exact_replicas:
            return PrefixMatch(counts, longest, [0] * longest)
        match = self.exact.match(np.array(chain.hashes, np.uint64))
        if self._tiered:
            match.count_tiers(self._tiered)
        if longest:
            match.counts.update(counts)
            match.longest = max(match.longest, longest)
            match.token_ends += [0] * (longest - len(match.token_ends))
        return match

    def apply_delta(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Apply what a replica reports of its cache; ignore replicas that are not known or not exact.

        Returns:
            False where deltas were lost: the caller must ask the replica for a snapshot.
        """
        source = self._sources.get(replica_id)
        if not isinstance(source, ExactReplica):
            return True
        applied = source.apply(delta)
        if source.has_tiers:
            self._tiered[replica_id] = source.anywhere
        else:
            self._tiered.pop(replica_id, None)
        return applied

    def modes(self) -> dict[str, str]:
        """Return how each replica's residency is known, by id; `Mode.EXACT` only while its stream is in step."""
        return {replica_id: _mode_of(source) for replica_id, source in self._sources.items()}

    def tick(self, now_s: float) -> None:
        """Do the upkeep that is due; call about once a second."""
        for source in self._sources.values():
            source.tick(now_s)
        self.observed.sweep()
        self.exact.sweep()

    def check_integrity(self) -> None:
        """Check the invariants.

        Raises:
            AssertionError: one is broken; the message says which.
        """
        self.exact.check_integrity()
        self.observed.check_integrity()
        kinds = {replica_id: type(source) for replica_id, source in self._sources.items()}
        exact_sources = {name: each for name, each in self._sources.items() if isinstance(each, ExactReplica)}
        tiered = {name for name, source in exact_sources.items() if source.has_tiers}
        if tiered != self._tiered.keys():
            raise AssertionError("a replica's tiers are counted and it has none, or not and it has")
        exact = set(self.exact.replicas) - set(self._tiered.values())
        for kind, replicas in ((ExactReplica, exact), (ObservedReplica, self.observed.replicas)):
            if {replica_id for replica_id, known in kinds.items() if known is kind} != set(replicas):
                raise AssertionError(f"an index and the sources know different replicas: {kind.__name__}")
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
