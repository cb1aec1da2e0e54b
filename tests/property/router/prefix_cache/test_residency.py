"""Residency is right in whatever order deltas come, and holds no claim for a cache that is gone."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.prefix_cache.exact import CONFIRM_S
from router.prefix_cache.residency import Residency, ResidencyDelta
from router.prompt.chunk_chain import ChunkChain, Hashes

NOTHING = np.empty(0, np.uint64)
chunks = st.integers(1, 30)
sets = st.sets(chunks, max_size=8)


def _array(values: set[int] | list[int]) -> Hashes:
    return np.array(sorted(values), np.uint64)


def _chain(values: list[int], chunk_bytes: int = 100) -> ChunkChain:
    ends = [chunk_bytes * (at + 1) for at in range(len(values))]
    return ChunkChain(values, ends, ends[-1] if ends else 0)


class Prompt(NamedTuple):
    """A prompt that was sent and has not ended yet."""

    number: int
    chain: ChunkChain
    held: int


class ExactMachine(RuleBasedStateMachine):
    """A replica with a cache, a line that loses and reorders deltas, and a gateway that sends prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.residency = Residency()
        self.residency.add_replica("r", exact=True, kv_bytes=0)
        self.cache: set[int] = set()
        self.sequence = 0
        self.line: list[ResidencyDelta] = []
        self.prompts: list[Prompt] = []
        self.now_s = 0.0
        self.needs_snapshot = True

    def _claimed(self) -> set[int]:
        every = np.arange(1, 31, dtype=np.uint64)
        return set(every[self.residency.exact.holds("r", every)].tolist())

    @rule(resident=sets, evicted=sets)
    def change(self, resident: set[int], evicted: set[int]) -> None:
        """Change the cache and put the delta on the line."""
        self.cache = (self.cache - evicted) | resident
        self.sequence += 1
        self.line.append(ResidencyDelta(self.sequence, _array(resident), _array(evicted)))

    @rule(position=st.integers(0, 3), repeat=st.booleans())
    def deliver(self, position: int, repeat: bool) -> None:  # noqa: FBT001 - drawn
        """Deliver a delta, perhaps out of order, perhaps one that will come again."""
        if self.line:
            position %= len(self.line)
            delta = self.line[position] if repeat else self.line.pop(position)
            self.needs_snapshot |= not self.residency.apply_delta("r", delta)

    @rule()
    def lose(self) -> None:
        """Lose a delta."""
        if self.line:
            self.line.pop(0)

    @rule(chain=st.lists(chunks, unique=True, max_size=8))
    def send(self, chain: list[int]) -> None:
        """Send a prompt; it counts as resident at once."""
        prompt = _chain(chain)
        held = self.residency.match(prompt).count("r")
        source = self.residency.source("r")
        assert source is not None
        self.prompts.append(Prompt(source.sent(prompt, held, self.now_s), prompt, held))
        assert self.residency.match(prompt).count("r") == len(prompt)

    @rule(position=st.integers(0, 9), prefilled=st.booleans())
    def end(self, position: int, prefilled: bool) -> None:  # noqa: FBT001 - drawn
        """End a prompt: it was prefilled, or it was lost before."""
        source = self.residency.source("r")
        assert source is not None
        if self.prompts:
            prompt = self.prompts.pop(position % len(self.prompts))
            if prefilled:
                source.prefilled(prompt.number, self.now_s)
            else:
                source.lost(prompt.number, prompt.chain, prompt.held)

    @rule()
    def resync(self) -> None:
        """Ask for a snapshot and apply it; with no prompt under way, exactly what it names is claimed."""
        snapshot = ResidencyDelta(self.sequence, _array(self.cache), NOTHING, snapshot=True)
        assert self.residency.apply_delta("r", snapshot)
        self.needs_snapshot = False
        under_way = {chunk for prompt in self.prompts for chunk in prompt.chain.hashes}
        self.now_s += CONFIRM_S
        self.residency.tick(self.now_s)
        assert self._claimed() >= self.cache
        assert self._claimed() <= self.cache | under_way

    @rule()
    def settle(self) -> None:
        """Deliver all deltas in order and end every prompt: then exactly what is cached is claimed."""
        source = self.residency.source("r")
        assert source is not None
        for prompt in self.prompts:
            source.prefilled(prompt.number, self.now_s)
        self.prompts.clear()
        for delta in sorted(self.line, key=lambda delta: delta.sequence):
            self.needs_snapshot |= not self.residency.apply_delta("r", delta)
        self.line.clear()
        self.now_s += CONFIRM_S
        self.residency.tick(self.now_s)
        if self.residency.modes()["r"] == "observed":
            self.resync()
        elif self.residency.apply_delta("r", ResidencyDelta(self.sequence + 1, NOTHING, NOTHING)):
            self.sequence += 1  # it accepted the next delta, so it had missed none
        else:
            self.sequence += 1
            self.resync()
        assert self._claimed() == self.cache

    @invariant()
    def sound(self) -> None:
        """The residency's invariants hold."""
        self.residency.check_integrity()


TestExactResidency = ExactMachine.TestCase
TestExactResidency.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@settings(max_examples=50, deadline=None)
@given(
    prompts=st.lists(st.lists(chunks, unique=True, min_size=1, max_size=8), max_size=40),
    capacity_chunks=st.integers(1, 20),
    chunk_bytes=st.sampled_from([100, 1 << 20]),
)
def test_observed_claims_stay_within_the_capacity(
    prompts: list[list[int]], capacity_chunks: int, chunk_bytes: int
) -> None:
    """A replica never has more claims than its cache can hold, and the start of its last prompt is among them."""
    residency = Residency()
    residency.add_replica("r", exact=False, kv_bytes=chunk_bytes * capacity_chunks)
    source = residency.source("r")
    assert source is not None
    for prompt in prompts:
        chain = _chain(prompt, chunk_bytes)
        source.sent(chain, residency.match(chain).count("r"), 0.0)
        residency.tick(0.0)
        assert residency.claims("r") <= capacity_chunks
        assert residency.match(chain).count("r") >= min(len(prompt), capacity_chunks)
        residency.check_integrity()


def test_observed_claims_of_a_failed_prompt_are_taken_back() -> None:
    """The claims of a prompt that never reached its replica are taken back; earlier claims stay."""
    residency = Residency()
    residency.add_replica("r", exact=False, kv_bytes=10_000)
    source = residency.source("r")
    assert source is not None
    source.sent(_chain([1, 2]), 0, 0.0)
    longer = _chain([1, 2, 3, 4])
    number = source.sent(longer, 2, 0.0)
    assert residency.match(longer).count("r") == 4
    source.lost(number, longer, 2)
    assert residency.match(longer).count("r") == 2
    residency.check_integrity()


def test_an_answer_is_held_too() -> None:
    """The next turn of a chat finds the answer cached behind the prompt."""
    residency = Residency()
    residency.add_replica("r", exact=False, kv_bytes=10_000)
    source = residency.source("r")
    assert source is not None
    source.sent(_chain([1, 2]), 0, 0.0)
    source.answered(_chain([3]))
    assert residency.match(_chain([1, 2, 3, 4])).count("r") == 3


@pytest.mark.parametrize("exact", [True, False])
def test_a_restarted_replica_holds_nothing(exact: bool) -> None:  # noqa: FBT001 - parametrized
    """A replica that restarts under its old id, or that leaves, keeps no claim."""
    residency = Residency()
    chain = _chain([1, 2, 3])
    for replica_id in ("r", "s"):
        residency.add_replica(replica_id, exact=exact, kv_bytes=10_000)
        source = residency.source(replica_id)
        assert source is not None
        source.sent(chain, 0, 0.0)
    residency.add_replica("r", exact=exact, kv_bytes=10_000)
    assert [residency.match(chain).count(name) for name in ("r", "s")] == [0, 3]
    residency.drop_replica("s")
    assert residency.match(chain).count("s") == 0
    residency.check_integrity()


def test_a_smaller_cache_ages_at_once() -> None:
    """Once a replica reports a smaller capacity, the claims that exceed it are evicted."""
    residency = Residency()
    residency.add_replica("r", exact=False, kv_bytes=10_000)
    source = residency.source("r")
    assert source is not None
    chain = _chain(list(range(1, 31)))
    source.sent(chain, 0, 0.0)
    source.resize(500)
    assert residency.match(chain).count("r") == 5  # the start: an engine frees the end first


def test_a_cache_that_turns_out_large_keeps_what_it_holds_in_order() -> None:
    """Once a replica reports a larger capacity, its claims stay, in their order of use."""
    residency = Residency()
    residency.add_replica("r", exact=False, kv_bytes=1 << 20)
    source = residency.source("r")
    assert source is not None
    old, young = (_chain(values, 1 << 18) for values in ([1, 2], [3, 4]))
    for chain in (old, young):
        source.sent(chain, 0, 0.0)
    source.resize(2 << 20)
    assert [residency.match(chain).count("r") for chain in (old, young)] == [2, 2]
    source.sent(_chain([5, 6, 7, 8, 9], 1 << 18), 0, 0.0)
    residency.tick(0.0)
    assert [residency.match(chain).count("r") for chain in (old, young)] == [1, 2]
    residency.check_integrity()


def test_a_claim_nobody_confirms_is_taken_back() -> None:
    """Chunks that an engine does not confirm lose their claims `CONFIRM_S` after the prefill."""
    residency = Residency()
    residency.add_replica("r", exact=True, kv_bytes=0)
    residency.apply_delta("r", ResidencyDelta(0, NOTHING, NOTHING, snapshot=True))
    source = residency.source("r")
    assert source is not None
    chain = _chain([1, 2, 3])
    number = source.sent(chain, 0, 0.0)
    residency.tick(100.0)
    assert residency.match(chain).count("r") == 3  # not prefilled yet, so not overdue
    source.prefilled(number, 100.0)
    residency.apply_delta("r", ResidencyDelta(1, _array({1, 2}), NOTHING))
    residency.tick(100.0 + CONFIRM_S)
    assert residency.match(chain).count("r") == 2


def test_a_delta_that_comes_twice_or_late_changes_nothing() -> None:
    """An old delta does not bring back a chunk that a newer one evicted."""
    residency = Residency()
    residency.add_replica("r", exact=True, kv_bytes=0)
    residency.apply_delta("r", ResidencyDelta(4, NOTHING, NOTHING, snapshot=True))
    first = ResidencyDelta(5, _array({1, 2}), NOTHING)
    assert residency.apply_delta("r", first)
    assert residency.apply_delta("r", ResidencyDelta(6, NOTHING, _array({2})))
    assert residency.apply_delta("r", first)
    assert residency.exact.holds("r", np.array([1, 2], np.uint64)).tolist() == [True, False]


def test_the_latest_prompt_outlives_earlier_ones() -> None:
    """Prompts are evicted in their order in time, each from its end."""
    residency = Residency()
    residency.add_replica("r", exact=False, kv_bytes=500)
    source = residency.source("r")
    assert source is not None
    for start in (1, 11, 21):
        source.sent(_chain(list(range(start, start + 4))), 0, 0.0)
    residency.tick(0.0)
    held = [residency.match(_chain(list(range(start, start + 4)))).count("r") for start in (1, 11, 21)]
    assert held == [0, 1, 4]
