"""The observed index answers as plain lists in order of use would, for any prompts, answers, losses and replicas."""

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.prefix_cache.observed import OVER_PARTS, SHRINK_CHUNKS, ObservedReplica
from router.prefix_cache.observed_index import MAX_LEAVING, ObservedIndex
from router.prompt.chunk_chain import ChunkChain

REPLICAS = [f"r{number}" for number in range(70)]  # more bits than a machine word has
replicas = st.one_of(st.sampled_from(REPLICAS[:3]), st.sampled_from(REPLICAS))
chunks = st.integers(1, 40).map(lambda number: number * 0x9E3779B97F4A7C15 & 0xFFFF_FFFF_FFFF_FFFF)
prompts = st.lists(chunks, unique=True, max_size=12)
capacities = st.sampled_from([0, 90, 700, 1000, 64_000])


def _chain(hashes: list[int]) -> ChunkChain:
    ends, end = [], 0
    for chunk in hashes:
        end += 60 + chunk % 61
        ends.append(end)
    return ChunkChain(hashes, ends, end)


class Oracle(NamedTuple):
    """What one replica holds, by the rules as they are written down: chunks, latest used first."""

    kv_bytes: int
    held: list[int]

    def size(self) -> int:
        """Return the size of all chunks held, in bytes."""
        return sum(60 + chunk % 61 for chunk in self.held)

    def use(self, hashes: list[int]) -> None:
        """Use a prompt: its chunks come first. What is too much goes, unless it is little too much."""
        is_new = not set(hashes) <= set(self.held)
        self.held[:] = [*hashes, *(chunk for chunk in self.held if chunk not in hashes)]
        if is_new and self.size() > self.kv_bytes + self.kv_bytes // OVER_PARTS:
            self.shrink()

    def shrink(self) -> None:
        """Evict the least recently used until the rest fit."""
        while self.size() > self.kv_bytes:
            self.held.pop()


class ObservedMachine(RuleBasedStateMachine):
    """Drives an index and its replicas beside lists."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ObservedIndex()
        self.sources: dict[str, ObservedReplica] = {}
        self.model: dict[str, Oracle] = {}

    @rule(replica=replicas, kv_bytes=capacities)
    def join(self, replica: str, kv_bytes: int) -> None:
        """Let a replica join; one that is there restarts without claims."""
        self.index.leave(replica)
        self.sources[replica] = ObservedReplica(self.index, replica, kv_bytes)
        self.model[replica] = Oracle(kv_bytes, [])

    @rule(replica=replicas)
    def leave(self, replica: str) -> None:
        """Let a replica leave, perhaps one that is not there."""
        self.index.leave(replica)
        self.sources.pop(replica, None)
        self.model.pop(replica, None)

    @rule(replica=replicas, prompt=prompts, is_answer=st.booleans())
    def use(self, replica: str, prompt: list[int], is_answer: bool) -> None:  # noqa: FBT001 - drawn
        """Send a prompt, or note an answer."""
        if replica in self.model:
            if is_answer:
                self.sources[replica].answered(_chain(prompt))
            else:
                self.sources[replica].sent(_chain(prompt), 0, 0.0)
            self.model[replica].use(prompt)

    @rule(replica=replicas, prompt=prompts, held=st.integers(0, 12))
    def lose(self, replica: str, prompt: list[int], held: int) -> None:
        """Lose a prompt beyond its first chunks."""
        if replica in self.model:
            self.sources[replica].lost(0, _chain(prompt), held)
            self.model[replica].held[:] = [chunk for chunk in self.model[replica].held if chunk not in prompt[held:]]

    @rule(replica=replicas, kv_bytes=capacities)
    def resize(self, replica: str, kv_bytes: int) -> None:
        """Report another capacity."""
        if replica in self.model:
            self.sources[replica].resize(kv_bytes)
            self.model[replica] = Oracle(kv_bytes, self.model[replica].held)
            self.model[replica].shrink()

    @rule(chunks=st.sampled_from([0, 3, 1 << 20]))
    def tick(self, chunks: int) -> None:
        """Do the upkeep, wiping a few bits or all of replicas that left."""
        for replica, source in self.sources.items():
            source.tick(0.0)
            self.model[replica].shrink()
        self.index.sweep(chunks)

    @rule(prompt=prompts)
    def look_up(self, prompt: list[int]) -> None:
        """Count leading chunks for all replicas at once."""
        counts: dict[str, int] = {}
        longest = self.index.match(prompt, counts)
        expected = {}
        for replica, oracle in self.model.items():
            count = next((at for at, chunk in enumerate(prompt) if chunk not in oracle.held), len(prompt))
            if count:
                expected[replica] = count
        assert counts == expected
        assert longest == max(expected.values(), default=0)

    @invariant()
    def sound(self) -> None:
        """The invariants hold, and each replica has the chunks that the lists say, in their order of use."""
        self.index.check_integrity()
        for replica, source in self.sources.items():
            source.check_integrity()
            assert list(reversed(source._lru.sizes)) == self.model[replica].held


TestObservedIndex = ObservedMachine.TestCase
TestObservedIndex.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


@settings(max_examples=50, deadline=None)
@given(sent=st.lists(st.tuples(st.integers(0, 3), prompts), max_size=60), max_claims=st.integers(4, 40))
def test_all_claims_together_are_bounded(sent: list[tuple[int, list[int]]], max_claims: int) -> None:
    """However large the caches are: after a tick no more chunks are claimed than `max_claims`, whoever got them."""
    index = ObservedIndex(max_claims)
    sources = [ObservedReplica(index, f"r{number}", 1 << 40) for number in range(4)]
    for number, prompt in sent:
        sources[number].sent(_chain(prompt), 0, 0.0)
        assert index.claims <= 2 * max_claims + len(prompt)
        before = index.claims
        for source in sources:
            source.tick(0.0)
        assert index.claims <= max_claims
        assert index.claims == before or before > max_claims
        index.check_integrity()


def test_one_request_does_not_pay_for_all_that_is_too_much() -> None:
    """A replica that has far more than its share, as others joined, gives it up in parts, so that no request stalls."""
    index = ObservedIndex(max_claims=5000)
    first = ObservedReplica(index, "first", 1 << 40)
    first.sent(_chain(list(range(1, 5001))), 0, 0.0)
    for number in range(4):
        ObservedReplica(index, f"other{number}", 1 << 40)
    first.sent(_chain([5001]), 0, 0.0)
    assert index.claims == 5001 - SHRINK_CHUNKS
    assert index.match([5001], {}) == 1
    index.check_integrity()


def test_replicas_that_flap_leave_nothing_behind() -> None:
    """After 2 000 replicas came, got prompts and left, there are no more bits than replicas at a time, and few chunks.

    No tick wipes anything here: new claims do, and a replica that joins.
    """
    index = ObservedIndex()
    for life in range(2000):
        source = ObservedReplica(index, f"r{life}", 1 << 30)
        source.sent(_chain(list(range(50 * life + 1, 50 * life + 51))), 0, 0.0)
        index.leave(f"r{life - 7}")
    index.check_integrity()
    assert len(index.replicas) == 7
    assert len(index) <= 10 * 50
    assert len(index._names) <= 10


def test_replicas_that_leave_while_nothing_is_sent_take_few_bits() -> None:
    """Replicas that came with claims and left between two ticks get no more than `MAX_LEAVING` bits beside the live."""
    index = ObservedIndex()
    for life in range(300):
        source = ObservedReplica(index, f"r{life}", 1 << 30)
        source._lru.sizes[life + 1] = 100
        source._lru.held_bytes = 100
        index._masks[life + 1] = source._lru.bit  # a claim that wipes nothing, as `claim` would
        index.claims += 1
        index.leave(f"r{life}")
    assert len(index._names) <= MAX_LEAVING + 1
    index.sweep(1 << 20)
    index.check_integrity()
    assert len(index) == index.claims == 0
