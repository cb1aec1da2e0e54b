"""The prefix index answers as a dict of sets would, for any replicas, claims, evictions, drops and resyncs."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.prefix_cache.index import PrefixIndex
from router.prompt.chunk_chain import Hashes

REPLICAS = [f"r{number}" for number in range(70)]  # more than one mask word
replicas = st.one_of(st.sampled_from(REPLICAS[:4]), st.sampled_from(REPLICAS))
chunks = st.integers(1, 60).map(lambda number: number * 0x9E3779B97F4A7C15 & 0xFFFF_FFFF_FFFF_FFFF)
batches = st.lists(chunks, max_size=30)


def _array(batch: list[int]) -> Hashes:
    return np.array(batch, np.uint64)


class IndexMachine(RuleBasedStateMachine):
    """Drives an index beside a dict of sets."""

    max_slots = 1 << 12
    forgets = False

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex(max_slots=self.max_slots, slots=16)
        self.model: dict[str, set[int]] = {}

    @rule(replica=replicas)
    def add(self, replica: str) -> None:
        """Add a replica, perhaps one that is known already."""
        self.index.add_replica(replica)
        self.model.setdefault(replica, set())

    @rule(replica=replicas)
    def drop(self, replica: str) -> None:
        """Drop a replica with all its claims."""
        self.index.drop_replica(replica)
        self.model.pop(replica, None)

    @rule(replica=replicas, batch=batches)
    def claim(self, replica: str, batch: list[int]) -> None:
        """Claim chunks for a replica, some perhaps twice."""
        self.index.claim(replica, _array(batch))
        if replica in self.model:
            self.model[replica].update(batch)

    @rule(replica=replicas, batch=batches)
    def evict(self, replica: str, batch: list[int]) -> None:
        """Evict chunks of a replica."""
        self.index.evict(replica, _array(batch))
        if replica in self.model:
            self.model[replica].difference_update(batch)

    @rule(replica=replicas, batch=batches)
    def replace(self, replica: str, batch: list[int]) -> None:
        """Resync a replica: it holds exactly these chunks."""
        self.index.replace(replica, _array(batch))
        if replica in self.model:
            self.model[replica] = set(batch)

    @rule(slots=st.sampled_from([8, 64, 1 << 20]))
    def sweep(self, slots: int) -> None:
        """Sweep a few slots, or all."""
        self.index.sweep(slots)

    @rule(chain=st.lists(chunks, max_size=90))
    def match(self, chain: list[int]) -> None:
        """Each replica's match is the number of leading chunks it holds."""
        match = self.index.match(_array(chain))
        for replica in REPLICAS:
            held = self.model.get(replica, set())
            run = next((at for at, chunk in enumerate(chain) if chunk not in held), len(chain))
            if self.forgets:
                assert match.count(replica) <= run
            else:
                assert match.count(replica) == run

    @rule(replica=replicas, batch=batches)
    def holds(self, replica: str, batch: list[int]) -> None:
        """Each single chunk is known to be held or not."""
        held = self.model.get(replica, set())
        for chunk, said in zip(batch, self.index.holds(replica, _array(batch)).tolist(), strict=True):
            assert said == (chunk in held) or (self.forgets and not said)

    @invariant()
    def sound(self) -> None:
        """The index's invariants hold, and its counts are those of the dict of sets."""
        self.index.check_integrity()
        assert set(self.index.replicas) == set(self.model)
        for replica, held in self.model.items():
            assert self.index.claims(replica) == len(held) or (self.forgets and self.index.claims(replica) <= len(held))


class SmallIndexMachine(IndexMachine):
    """Drives an index that is too small: it may forget claims, but never invents one and never grows past its bound."""

    max_slots = 16
    forgets = True

    def __init__(self) -> None:
        super().__init__()
        for replica in REPLICAS[:4]:
            self.add(replica)

    @invariant()
    def bounded(self) -> None:
        """The index stores at most `max_slots` chunks."""
        assert self.index.chunks <= self.max_slots


TestPrefixIndex = IndexMachine.TestCase
TestPrefixIndex.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSmallPrefixIndex = SmallIndexMachine.TestCase
TestSmallPrefixIndex.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@settings(max_examples=20, deadline=None)
@given(replica_count=st.sampled_from([1, 16, 17, 64, 65, 200, 256]), seed=st.integers(0, 1000))
def test_long_prompts_over_many_replicas(replica_count: int, seed: int) -> None:
    """With hundreds of chunks and up to 256 replicas, each replica matches exactly the prefix claimed for it."""
    generator = np.random.default_rng(seed)
    chain = generator.integers(1, 2**63, 417, dtype=np.uint64)
    index = PrefixIndex()
    held = {f"r{number}": int(generator.integers(0, 418)) for number in range(replica_count)}
    for replica, count in held.items():
        index.add_replica(replica)
        index.claim(replica, chain[:count])
    for length in (1, 12, 13, 64, 65, 417):
        match = index.match(chain[:length])
        assert {replica: match.count(replica) for replica in held} == {
            replica: min(count, length) for replica, count in held.items()
        }
    index.check_integrity()


def test_what_is_pushed_out_is_no_longer_counted() -> None:
    """In a full index a new chunk takes the place of an old one, which is then uncounted for all its replicas."""
    generator = np.random.default_rng(0)
    index = PrefixIndex(max_slots=64)
    for replica in ("r", "s"):
        index.add_replica(replica)
    for _ in range(20):
        chunks_of_both = generator.integers(1, 2**63, 10, dtype=np.uint64)
        index.claim("r", chunks_of_both)
        index.claim("s", chunks_of_both)
        index.check_integrity()
    assert index.chunks <= 64
    assert index.claims("r") <= 64
