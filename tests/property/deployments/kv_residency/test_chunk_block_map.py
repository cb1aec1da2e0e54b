"""Chunks mapped to KV blocks, against a model that keeps everything in plain sets."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployments.kv_residency.chunk_block_map import MAX_CHUNKS_PER_BLOCK, ChunkBlockMap
from deployments.kv_residency.place import Place
from deployments.kv_residency.residency_log import ResidencyLog
from router.prefix_cache.exact import ExactReplica
from router.prefix_cache.index import PrefixIndex
from router.prompt.chunk_chain import ChunkHasher
from router.prompt.hash_seed import hash_seed

CHUNKS = st.integers(1, 12)
BLOCKS = st.integers(101, 112)
ADD = st.tuples(st.just("add"), CHUNKS, BLOCKS)
STEPS = st.lists(
    st.one_of(
        ADD,
        ADD,
        st.tuples(st.just("store"), BLOCKS, BLOCKS),
        st.tuples(st.just("sink"), BLOCKS, BLOCKS),
        st.tuples(st.just("vanish"), BLOCKS, BLOCKS),
        st.tuples(st.just("tell"), BLOCKS, BLOCKS),
    ),
    max_size=80,
)
MOVES = {"store": Place.DEVICE, "sink": Place.LOWER, "vanish": Place.NOWHERE}


class World:
    """`ChunkBlockMap` beside the naive model."""

    def __init__(self, max_pending: int, *, has_tiers: bool = True) -> None:
        self.chunk_block_map = ChunkBlockMap(max_pending)
        self.log = ResidencyLog(self.chunk_block_map, has_tiers=has_tiers)
        self.places: dict[int, Place] = {}
        self.blocks_of: dict[int, set[int]] = defaultdict(set)
        self.told: dict[int, Place] = {}

    def do(self, step: str, first: int, second: int) -> None:
        """Take one step in both."""
        if step == "add":
            place = self.places.get(second, Place.NOWHERE)
            self.chunk_block_map.add(first, second, 10 * first, place=place)
            self.blocks_of[first].add(second)
        elif step in MOVES:
            self.places[first] = MOVES[step]
            self.chunk_block_map.moved(first, MOVES[step])
        else:
            self._tell()
        self.chunk_block_map.check_integrity()

    def _tell(self) -> None:
        resident, lower, evicted = self.chunk_block_map.take_changes()
        on_device, below, gone = (set(each.tolist()) for each in (resident.hashes, lower.hashes, evicted))
        assert not on_device & (below | gone)
        assert not on_device & self.at(Place.DEVICE, self.told), "told once, not twice"
        assert not below & self.at(Place.LOWER, self.told)
        assert gone <= set(self.told)
        sunk = [chunk for chunk in lower.hashes.tolist() if chunk in gone]
        assert evicted[: len(sunk)].tolist() == lower.hashes[: len(sunk)].tolist() == sunk, "at the same position"
        for part in (resident, lower):
            assert part.tokens.tolist() == [10 * chunk for chunk in part.hashes.tolist()]
        for chunk in gone:
            del self.told[chunk]
        self.told |= dict.fromkeys(on_device, Place.DEVICE) | dict.fromkeys(below, Place.LOWER)
        assert self.at(Place.DEVICE, self.told) == set(self.chunk_block_map.all_resident().hashes.tolist())
        assert self.at(Place.LOWER, self.told) == set(self.chunk_block_map.all_lower().hashes.tolist())

    @staticmethod
    def at(place: Place, places: dict[int, Place]) -> set[int]:
        """Return the chunks at a place."""
        return {chunk for chunk, where in places.items() if where is place}

    @property
    def right(self) -> dict[int, Place]:
        """What the naive model says of chunks that are anywhere."""
        best = {
            chunk: max(self.places.get(block, Place.NOWHERE) for block in blocks)
            for chunk, blocks in self.blocks_of.items()
        }
        return {chunk: place for chunk, place in best.items() if place}

    @property
    def claimed(self) -> dict[int, Place]:
        """What the map says."""
        places = {chunk: self.chunk_block_map.place(chunk) for chunk in range(1, 13)}
        return {chunk: place for chunk, place in places.items() if place}


@given(STEPS)
def test_a_chunk_is_where_the_best_of_its_blocks_is(steps: list[tuple[str, int, int]]) -> None:
    """In whatever order chunks and blocks come and go; what is told adds up to it, each change once."""
    world = World(max_pending=1000)
    for step in steps:
        world.do(*step)
        assert world.claimed == world.right
    world.do("tell", 0, 0)
    assert world.told == world.right


@given(STEPS, st.integers(0, 4))
def test_what_is_forgotten_for_want_of_room_is_never_claimed(
    steps: list[tuple[str, int, int]], max_pending: int
) -> None:
    """With room for a few pending blocks a claim may be missing, but none is wrong."""
    world = World(max_pending)
    for step in steps:
        world.do(*step)
        assert all(place <= world.right.get(chunk, Place.NOWHERE) for chunk, place in world.claimed.items())


def test_a_flood_of_prompts_takes_bounded_room() -> None:
    """A million prompts that share a block, or that are never prefilled, leave a bounded number of chunks."""
    chunk_block_map = ChunkBlockMap(max_pending=100)
    chunk_block_map.moved(1, Place.DEVICE)
    for chunk in range(1, 100_000):
        chunk_block_map.add(chunk, 1, 5, place=Place.DEVICE)
        chunk_block_map.add(chunk + 1_000_000, chunk + 10, 5, place=Place.NOWHERE)
    assert len(chunk_block_map) <= MAX_CHUNKS_PER_BLOCK + 100
    chunk_block_map.check_integrity()
    assert chunk_block_map.is_resident(99_999)
    resident, _, evicted = chunk_block_map.take_changes()
    assert len(resident.hashes) == MAX_CHUNKS_PER_BLOCK
    assert not len(evicted)


@given(st.lists(st.tuples(STEPS, st.booleans()), max_size=12), st.integers(0, 3), st.booleans())
def test_a_gateway_that_follows_knows_what_the_replica_knows(
    rounds: list[tuple[list[tuple[str, int, int]], bool]],
    misses: int,
    has_tiers: bool,  # noqa: FBT001 - drawn
) -> None:
    """From any snapshot on, the deltas give what a later snapshot holds; one who missed some asks for a snapshot.

    What is on the device and what is anywhere are both right, and a gateway that knows no tiers has the device's right.
    """
    world = World(max_pending=1000, has_tiers=has_tiers)
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
        chunks = np.arange(1, 13, dtype=np.uint64)
        held, anywhere = (set(chunks[index.holds(name, chunks)].tolist()) for name in ("r", gateway.anywhere))
        assert held == world.at(Place.DEVICE, world.right)
        assert anywhere == (set(world.right) if has_tiers else set())
    index.check_integrity()


def test_prompts_that_are_asked_again_are_remembered() -> None:
    """Where room for pending blocks is short, the one longest unheard of goes."""
    chunk_block_map = ChunkBlockMap(max_pending=2)
    for block in (1, 2, 1, 3):
        chunk_block_map.add(block, block, 5, place=Place.NOWHERE)
    for block in (1, 2, 3):
        chunk_block_map.moved(block, Place.DEVICE)
    assert [chunk_block_map.is_resident(chunk) for chunk in (1, 2, 3)] == [True, False, True]


def test_a_log_that_is_behind_gives_a_snapshot() -> None:
    """Only so many deltas are kept; who lags further is told so, and so is who knows of deltas that never were."""
    chunk_block_map = ChunkBlockMap(10)
    log = ResidencyLog(chunk_block_map)
    blocks = 70_000
    for start in range(1, blocks, 10_000):
        for block in range(start, start + 10_000):
            chunk_block_map.add(block, block, 1, place=Place.DEVICE)
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
        ChunkHasher(hash_seed(credential)).of_body("/v1/chat/completions", body, model="m").hashes
        for credential in ("one", "one", "two", "")
    ]
    assert chains[0] == chains[1] != chains[2]
    assert chains[3]
    assert not set(chains[0]) & (set(chains[2]) | set(chains[3]))
