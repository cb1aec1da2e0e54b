"""The simulated tiers: prompts' blocks are copied below the device, and come back in time and in whole blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.spec.model_parts.kv_cache_spec import GB, OffloadSpec
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import BlockRemoved, BlockStored, KvEvent, Medium
from deployments.engines.sim.generation.prompt import SimPrompt, units_of_ids
from deployments.engines.sim.generation.scheduler import SimScheduler
from deployments.engines.sim.generation.sequence import Sequence, SequenceState
from deployments.engines.sim.generation.tiers import SimTiers

SPEC = SimSpec(
    prefill_tokens_per_s=1000,
    kv_blocks=8,
    block_tokens=10,
    kv_bytes_per_token=100,
    offload_bytes_per_s=1e5,
    disk_bytes_per_s=1e4,
)
BLOCK_BYTES = 1000
HOST_S, DISK_S = 0.01, 0.1


class World:
    """A scheduler with tiers, and what its events say."""

    def __init__(self, host_blocks: int, disk_blocks: int = 0) -> None:
        self.told: dict[Medium, set[object]] = {medium: set() for medium in Medium}
        hub = KvEventHub()
        hub.subscribe(self._keep)
        disk = {"disk_gb": disk_blocks * BLOCK_BYTES / GB, "disk_path": "/kv"} if disk_blocks else {}
        offload = OffloadSpec.model_validate({"cpu_gb": host_blocks * BLOCK_BYTES / GB, **disk})
        self.tiers = SimTiers(SPEC, offload, hub.emit)
        self.scheduler = SimScheduler(SPEC, hub, tiers=self.tiers)

    def _keep(self, event: KvEvent) -> None:
        if isinstance(event, BlockStored):
            told = self.told[event.medium]
            assert not told & set(event.block_hashes), "told twice without having left"
            if event.medium is not Medium.DEVICE:
                others = set().union(*(held for medium, held in self.told.items() if medium is not event.medium))
                assert set(event.block_hashes) <= others, "copied from where it still is"
            told.update(event.block_hashes)
        elif isinstance(event, BlockRemoved):
            assert self.told[event.medium] >= set(event.block_hashes)
            self.told[event.medium].difference_update(event.block_hashes)

    def run(self, first: int, tokens: int) -> tuple[int | None, float]:
        """Serve a prompt; return the tokens that it need not compute, and the seconds that its blocks took to come."""
        units = units_of_ids(range(first, first + tokens))
        one = Sequence(SimPrompt(units, 1.0, from_ids=True, answer_from=tokens), 10)
        self.scheduler.add(one)
        seconds = 0.0
        while self.scheduler.begin_step() is None:
            ((loading, seconds),) = self.scheduler.take_to_load()
            assert loading is one
            assert one.state is SequenceState.FETCHING
            assert self.scheduler.waiting_tokens == tokens - one.computed_tokens
            self.scheduler.load_ended(one)
            self.scheduler.check_integrity()
        self.scheduler.end_step()
        self.scheduler.finish(one)
        self.scheduler.check_integrity()
        return one.cached_tokens, seconds


def test_what_left_the_device_comes_back() -> None:
    """In the time that its bytes take, all of it; then it is on the device again but for its last block, as in vLLM.

    A cache on the device leaves the block of the last token to be computed, a tier below brings it.
    """
    world = World(host_blocks=20)
    assert world.run(0, 50) == (0, 0.0)
    assert len(world.told[Medium.HOST]) == 5, "as it was computed"
    assert world.run(1000, 80) == (0, 0.0)
    assert (len(world.told[Medium.DEVICE]), len(world.told[Medium.HOST])) == (8, 13)
    cached, seconds = world.run(0, 50)
    assert cached == 50
    assert seconds == pytest.approx(5 * HOST_S)
    cached, seconds = world.run(0, 50)
    assert cached == 50
    assert seconds == pytest.approx(HOST_S)
    stats = world.tiers.fetches.stats()
    assert stats.fetched_tokens == 60
    assert stats.s_per_token == pytest.approx(HOST_S / 10)


def test_a_part_on_the_device_is_not_fetched() -> None:
    """Only what follows it is; what no tier has is computed."""
    world = World(host_blocks=20)
    world.run(0, 80)
    world.run(1000, 30)
    cached, seconds = world.run(0, 80)
    assert cached == 80
    assert seconds == pytest.approx(3 * HOST_S)


def test_what_goes_to_host_memory_goes_to_the_disk() -> None:
    """So the disk has a copy of what was used longest ago there too, and once it is full, that is gone everywhere."""
    world = World(host_blocks=8, disk_blocks=16)
    world.run(0, 50)
    assert (len(world.told[Medium.HOST]), len(world.told[Medium.DISK])) == (5, 5)
    world.run(1000, 80)
    assert (len(world.told[Medium.HOST]), len(world.told[Medium.DISK])) == (8, 13)
    assert world.run(0, 50)[0] == 50, "from the disk"
    for first in (2000, 3000):
        world.run(first, 80)
    assert world.run(0, 50)[0] == 0, "it is gone from everywhere"
    assert (len(world.told[Medium.HOST]), len(world.told[Medium.DISK])) == (8, 16)
    world.tiers.check_integrity()


def test_a_tier_with_less_room_than_the_one_above_keeps_nothing_more() -> None:
    """It has copies of what is above; a prompt that the device has no room for is in neither."""
    world = World(host_blocks=8)
    world.run(0, 50)
    world.run(1000, 80)
    assert world.told[Medium.HOST] == world.told[Medium.DEVICE]
    assert world.run(0, 50) == (0, 0.0)


def test_a_prompts_end_is_evicted_before_its_beginning() -> None:
    """What is left of a prompt can be found again, as it is found from its beginning."""
    world = World(host_blocks=10)
    world.run(0, 50)
    world.run(1000, 80)
    cached, seconds = world.run(0, 50)
    assert cached == 20
    assert seconds == pytest.approx(2 * HOST_S)


def test_an_answer_is_kept_once_it_comes_back() -> None:
    """In the next prompt, as in vLLM, which offloads prompts alone."""
    world = World(host_blocks=20)
    one = Sequence(SimPrompt(units_of_ids(range(20)), 1.0, from_ids=True, answer_from=20), 10)
    world.scheduler.add(one)
    world.scheduler.begin_step()
    world.scheduler.end_step()
    for unit in units_of_ids(range(20, 40)):
        world.scheduler.append(one, unit)
    assert (len(world.told[Medium.DEVICE]), len(world.told[Medium.HOST])) == (4, 2)
    world.scheduler.finish(one)
    assert world.run(0, 41) == (40, 0.0)
    assert world.told[Medium.HOST] == world.told[Medium.DEVICE]


def test_the_disk_is_slower() -> None:
    """A block there is read to host memory first, which what this prompt pushed out of the device has filled again."""
    world = World(host_blocks=1, disk_blocks=20)
    world.run(0, 30)
    world.run(1000, 80)
    cached, seconds = world.run(0, 30)
    assert cached == 30
    assert seconds == pytest.approx(3 * (DISK_S + HOST_S))


def test_a_request_that_leaves_while_it_waits_frees_its_blocks() -> None:
    """And the end of the fetch then changes nothing."""
    world = World(host_blocks=20)
    world.run(0, 50)
    world.run(1000, 80)
    one = Sequence(SimPrompt(units_of_ids(range(50)), 1.0, from_ids=True, answer_from=50), 10)
    world.scheduler.add(one)
    assert world.scheduler.begin_step() is None
    world.scheduler.finish(one)
    world.scheduler.load_ended(one)
    world.scheduler.check_integrity()
    assert world.scheduler.cache.usage == 0
    assert world.scheduler.begin_step() is None


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 80)), max_size=30),
    st.one_of(st.integers(0, 12), st.just(40)),
    st.integers(0, 12),
)
def test_events_and_room_hold_whatever_is_asked(prompts: list[tuple[int, int]], host: int, disk: int) -> None:
    """Each prompt finds what some tier was told to hold, and nothing that none was.

    Where host memory is short, a prompt's own blocks may push out what it would have found.
    """
    world = World(host, disk if host else 0)
    for which, tokens in prompts:
        units = units_of_ids(range(1000 * which, 1000 * which + tokens))
        hashes = Sequence(SimPrompt(units, 1.0, from_ids=True, answer_from=tokens), 10).hashes
        held = set().union(*world.told.values())
        found = next((place for place, name in enumerate(hashes) if name not in held), len(hashes))
        cached, _ = world.run(1000 * which, tokens)
        right = 10 * min(found, tokens // 10 if host else (tokens - 1) // 10)
        assert cached is not None
        assert cached == right if host == 40 else cached <= right
