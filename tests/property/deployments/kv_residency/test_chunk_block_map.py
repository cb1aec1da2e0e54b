"""Chunks tied to KV blocks, against a model that keeps everything in plain sets."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployments.kv_residency.chunk_block_map import MAX_TIES, ChunkBlockMap
from deployments.kv_residency.residency_log import ResidencyLog
from router.prefix_cache.exact import ExactReplica
from router.prefix_cache.index import PrefixIndex
from router.prompt.chunk_chain import ChunkHasher
from router.prompt.hash_seed import hash_seed

CHUNKS = st.integers(1, 12)
BLOCKS = st.integers(101, 112)
TIE = st.tuples(st.just("tie"), CHUNKS, BLOCKS)
STEPS = st.lists(
    st.one_of(
        TIE,
        TIE,
        st.tuples(st.just("appear"), BLOCKS, BLOCKS),
        st.tuples(st.just("vanish"), BLOCKS, BLOCKS),
        st.tuples(st.just("tell"), BLOCKS, BLOCKS),
    ),
    max_size=80,
)


class World:
    """`ChunkBlockMap` beside the naive model."""

    def __init__(self, max_pending: int) -> None:
        self.ties = ChunkBlockMap(max_pending)
        self.log = ResidencyLog(self.ties)
        self.held: set[int] = set()
        self.tied: dict[int, set[int]] = defaultdict(set)
        self.told: set[int] = set()

    def do(self, step: str, first: int, second: int) -> None:
        """Take one step in both."""
        if step == "tie":
            self.ties.tie(first, second, 10 * first, is_held=second in self.held)
            self.tied[first].add(second)
        elif step == "appear" and first not in self.held:
            self.held.add(first)
            self.ties.appeared(first)
        elif step == "vanish" and first in self.held:
            self.held.discard(first)
            self.ties.vanished(first)
        elif step == "tell":
            resident, evicted = self.ties.take_changes()
            assert not self.told & set(resident.hashes.tolist()), "told once, not twice"
            assert set(evicted.tolist()) <= self.told
            assert resident.tokens.tolist() == [10 * chunk for chunk in resident.hashes.tolist()]
            self.told -= set(evicted.tolist())
            self.told |= set(resident.hashes.tolist())
            assert self.told == set(self.ties.all_resident().hashes.tolist())
        self.ties.check_integrity()

    @property
    def resident(self) -> set[int]:
        """What the naive model says."""
        return {chunk for chunk, blocks in self.tied.items() if blocks & self.held}


@given(STEPS)
def test_a_chunk_is_resident_as_long_as_one_of_its_blocks_is(steps: list[tuple[str, int, int]]) -> None:
    """In whatever order ties and blocks come and go; what is told adds up to it, each change once."""
    world = World(max_pending=1000)
    for step in steps:
        world.do(*step)
        assert {chunk for chunk in range(1, 13) if world.ties.is_resident(chunk)} == world.resident
    world.do("tell", 0, 0)
    assert world.told == world.resident


@given(STEPS, st.integers(0, 4))
def test_what_is_forgotten_for_want_of_room_is_never_claimed(
    steps: list[tuple[str, int, int]], max_pending: int
) -> None:
    """With room for a few pending blocks a claim may be missing, but none is wrong."""
    world = World(max_pending)
    for step in steps:
        world.do(*step)
        assert {chunk for chunk in range(1, 13) if world.ties.is_resident(chunk)} <= world.resident


def test_a_flood_of_prompts_takes_bounded_room() -> None:
    """A million prompts that share a block, or that are never prefilled, leave a bounded number of ties."""
    ties = ChunkBlockMap(max_pending=100)
    ties.appeared(1)
    for chunk in range(1, 100_000):
        ties.tie(chunk, 1, 5, is_held=True)
        ties.tie(chunk + 1_000_000, chunk + 10, 5, is_held=False)
    assert len(ties) <= MAX_TIES + 100
    ties.check_integrity()
    assert ties.is_resident(99_999)
    resident, evicted = ties.take_changes()
    assert len(resident.hashes) == MAX_TIES
    assert not len(evicted)


@given(st.lists(st.tuples(STEPS, st.booleans()), max_size=12), st.integers(0, 3))
def test_a_gateway_that_follows_knows_what_the_replica_knows(
    rounds: list[tuple[list[tuple[str, int, int]], bool]], misses: int
) -> None:
    """From any snapshot on, the deltas give what a later snapshot holds; one who missed some asks for a snapshot."""
    world = World(max_pending=1000)
    index = PrefixIndex()
    index.add_replica("r")
    gateway = ExactReplica(index, "r", 0)
    sequence = -1
    for number, (steps, listens) in enumerate(rounds):
        for step in steps:
            if step[0] != "tell":
                world.do(*step)
        world.log.flush()
        if not listens or number < misses:
            continue
        deltas = world.log.since(sequence) if sequence >= 0 else None
        for delta in deltas if deltas is not None else [world.log.snapshot()]:
            assert gateway.apply(delta)
        sequence = world.log.sequence
        known = {chunk for chunk in range(1, 13) if index.holds("r", np.array([chunk], np.uint64))[0]}
        assert known == world.resident
    index.check_integrity()


def test_prompts_that_are_asked_again_are_remembered() -> None:
    """Where room for pending blocks is short, the one longest unheard of goes."""
    ties = ChunkBlockMap(max_pending=2)
    for block in (1, 2, 1, 3):
        ties.tie(block, block, 5, is_held=False)
    for block in (1, 2, 3):
        ties.appeared(block)
    assert [ties.is_resident(chunk) for chunk in (1, 2, 3)] == [True, False, True]


def test_a_log_that_is_behind_gives_a_snapshot() -> None:
    """Only so many deltas are kept; who lags further is told so, and so is who knows of deltas that never were."""
    ties = ChunkBlockMap(10)
    log = ResidencyLog(ties)
    blocks = 70_000
    for start in range(1, blocks, 10_000):
        for block in range(start, start + 10_000):
            ties.tie(block, block, 1, is_held=True)
        log.flush()
    assert log.since(0) is None
    assert log.since(log.sequence) == []
    assert log.since(log.sequence + 1) is None
    assert len(log.since(log.sequence - 2) or []) == 2
    assert len(log.snapshot().resident) == blocks


def test_hashes_of_a_cluster_agree() -> None:
    """Gateways and replicas make the same seed of the same credential, and different ones of different credentials."""
    body = b'{"messages": [{"role": "user", "content": "' + b"tell me more " * 40 + b'"}]}'
    chains = [
        ChunkHasher(hash_seed(credential)).of_body("/v1/chat/completions", body, model="m").hashes.tolist()
        for credential in ("one", "one", "two", "")
    ]
    assert chains[0] == chains[1] != chains[2]
    assert chains[3]
    assert not set(chains[0]) & (set(chains[2]) | set(chains[3]))
