"""The simulated engine's batching: how long steps last, who waits, what is found in the cache."""

import pytest

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import BlockRemoved, BlockStored, KvEvent
from deployments.engines.sim.generation.prompt import SimPrompt, units_of_ids
from deployments.engines.sim.generation.scheduler import MAX_BATCHED_TOKENS, SimScheduler
from deployments.engines.sim.generation.sequence import Sequence

SPEC = SimSpec(
    prefill_tokens_per_s=1000,
    inter_token_s=0.01,
    inter_token_per_seq_s=0.002,
    max_num_seqs=4,
    kv_blocks=20,
    block_tokens=10,
)


def scheduler_of(spec: SimSpec = SPEC) -> tuple[SimScheduler, list[KvEvent]]:
    """Return a scheduler and the list its events go to."""
    events: list[KvEvent] = []
    hub = KvEventHub()
    hub.subscribe(events.append)
    return SimScheduler(spec, hub), events


def sequence(first: int, tokens: int, block_tokens: int = 10) -> Sequence:
    """Return a sequence whose prompt counts up from `first`."""
    units = units_of_ids(range(first, first + tokens))
    return Sequence(SimPrompt(units, 1.0, from_ids=True, answer_from=tokens), block_tokens)


def step(scheduler: SimScheduler) -> tuple[object, list[Sequence]]:
    """Run one step, each sampled token appended; return the step's seconds and who sampled."""
    step_s = scheduler.begin_step()
    sampled = [] if step_s is None else scheduler.end_step()
    for one in sampled:
        scheduler.append(one, "x")
    scheduler.check_integrity()
    return step_s, sampled


def test_steps_last_as_long_as_their_work() -> None:
    """Prefill at its rate; decoding a base and a little for each further sequence; both add up."""
    scheduler, _ = scheduler_of()
    one, two = sequence(0, 50), sequence(1000, 30)
    scheduler.add(one)
    assert step(scheduler) == (pytest.approx(0.050), [one])
    assert step(scheduler) == (pytest.approx(0.010), [one])
    scheduler.add(two)
    assert step(scheduler) == (pytest.approx(0.030 + 0.010), [one, two])
    assert step(scheduler) == (pytest.approx(0.012), [one, two])
    scheduler.finish(one)
    scheduler.finish(two)
    assert step(scheduler) == (None, [])


def test_a_long_prompt_takes_several_steps_beside_others() -> None:
    """At most `MAX_BATCHED_TOKENS` a step, so that decoding goes on meanwhile."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 1000}))
    short, long = sequence(0, 10), sequence(10_000, MAX_BATCHED_TOKENS + 500)
    scheduler.add(short)
    step(scheduler)
    scheduler.add(long)
    assert scheduler.waiting_tokens == MAX_BATCHED_TOKENS + 500
    assert step(scheduler)[1] == [short]
    assert scheduler.waiting_tokens == 500
    assert step(scheduler)[1] == [short, long]
    assert scheduler.waiting_tokens == 0


def test_places_are_given_first_come_first_served() -> None:
    """`max_num_seqs` run; the next one does when one of them ends."""
    scheduler, _ = scheduler_of()
    sequences = [sequence(1000 * number, 10) for number in range(6)]
    for one in sequences:
        scheduler.add(one)
    step(scheduler)
    assert (scheduler.running, scheduler.waiting) == (4, 2)
    scheduler.finish(sequences[1])
    step(scheduler)
    assert (scheduler.running, scheduler.waiting) == (4, 1)
    assert sequences[4].blocks == 2


def test_prompts_wait_for_blocks() -> None:
    """Who does not fit waits, and nobody overtakes."""
    scheduler, _ = scheduler_of()
    big, bigger, small = sequence(0, 120), sequence(1000, 150), sequence(2000, 10)
    for one in (big, bigger, small):
        scheduler.add(one)
    step(scheduler)
    assert (scheduler.running, scheduler.waiting) == (1, 2)
    scheduler.finish(big)
    step(scheduler)
    assert (scheduler.running, scheduler.waiting) == (2, 0)


def test_a_repeated_prompt_is_found_but_for_its_last_token() -> None:
    """Full blocks are found; of a prompt that is all full blocks, the last one is computed again."""
    scheduler, _ = scheduler_of()
    for tokens, cached in ((35, 30), (40, 30), (9, 0)):
        first, again = sequence(0, tokens), sequence(0, tokens)
        scheduler.add(first)
        step(scheduler)
        scheduler.finish(first)
        scheduler.add(again)
        assert step(scheduler)[0] == pytest.approx((tokens - cached) / 1000)
        assert again.cached_tokens == cached
        scheduler.finish(again)
        scheduler.cache.clear()


def test_events_tell_of_prompt_and_answer_blocks() -> None:
    """Blocks are told when they are full, chained to the one before, with their tokens; eviction is told too."""
    scheduler, events = scheduler_of()
    one = sequence(100, 25)
    scheduler.add(one)
    for _ in range(8):
        step(scheduler)
    stored = [event for event in events if isinstance(event, BlockStored)]
    assert [event.token_ids for event in stored] == [
        tuple(range(100, 120)),
        (*range(120, 125), *[ord("x")] * 5),
    ]
    assert stored[0].parent_block_hash is None
    assert stored[1].parent_block_hash == stored[0].block_hashes[-1]
    scheduler.finish(one)
    scheduler.add(sequence(5000, 195))
    step(scheduler)
    removed = [name for event in events if isinstance(event, BlockRemoved) for name in event.block_hashes]
    assert removed == list(reversed([name for event in stored for name in event.block_hashes]))


def test_the_last_to_come_gives_way_and_comes_back() -> None:
    """Without a free block the latest sequence loses its blocks, computes them again, and ends complete."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 6}))
    early, late = sequence(0, 25), sequence(1000, 25)
    scheduler.add(early)
    scheduler.add(late)
    tokens = {early: 0, late: 0}
    for _ in range(200):
        for one in step(scheduler)[1]:
            tokens[one] += 1
            if tokens[one] == 20:
                scheduler.finish(one)
    assert scheduler.preemptions >= 1
    assert tokens == {early: 20, late: 20}
    assert late.cached_tokens == 0, "what it found at its first start, not after it came back"


def test_a_sequence_that_outgrows_the_cache_is_told_so() -> None:
    """Alone and with every block taken, it cannot go on."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 3}))
    one = sequence(0, 25)
    scheduler.add(one)
    scheduler.begin_step()
    scheduler.end_step()
    went_on = [scheduler.append(one, "x") for _ in range(6)]
    assert went_on == [True] * 5 + [False]
    scheduler.finish(one)
    assert scheduler.cache.usage == 0


def test_an_aborted_sequence_leaves_at_once() -> None:
    """Waiting, in the middle of a step or twice: its blocks are free when `finish` returns, and it samples no more."""
    scheduler, _ = scheduler_of()
    one, two = sequence(0, 20), sequence(1000, 190)
    scheduler.add(one)
    scheduler.add(two)
    scheduler.begin_step()
    scheduler.finish(two)
    scheduler.finish(one)
    scheduler.finish(one)
    assert scheduler.end_step() == []
    assert (scheduler.running, scheduler.waiting, scheduler.cache.usage) == (0, 0, 0)


def test_rates_are_those_of_the_spec() -> None:
    """Prefill alone runs at the prefill rate, decoding at batch over step time."""
    scheduler, _ = scheduler_of()
    for number in range(3):
        scheduler.add(sequence(1000 * number, 30))
    step(scheduler)
    assert scheduler.prefill_rate.per_s == pytest.approx(1000)
    for _ in range(5):
        step(scheduler)
    assert scheduler.decode_rate.per_s == pytest.approx(3 / 0.014)


def test_without_a_prefix_cache_no_block_stays() -> None:
    """The same prompt is prefilled whole again; nothing is told; what it took is free once it has ended."""
    scheduler, events = scheduler_of(SPEC.model_copy(update={"prefix_caching": False}))
    for _ in range(2):
        one = sequence(0, 50)
        scheduler.add(one)
        assert step(scheduler) == (pytest.approx(0.050), [one])
        assert one.cached_tokens == 0
        for _ in range(30):
            step(scheduler)
        scheduler.finish(one)
        assert scheduler.cache.free_blocks == SPEC.kv_blocks
    assert events == []


def fetching(first: int, tokens: int) -> Sequence:
    """Return a sequence whose prompt is to be fetched."""
    found = sequence(first, tokens)
    found.is_fetch = True
    return found


def test_a_fetched_prompt_is_computed_but_for_its_last_token() -> None:
    """It takes its blocks and no place while it comes; then its blocks are in the cache, told, and found again."""
    scheduler, events = scheduler_of()
    one = fetching(0, 45)
    scheduler.add(one)
    assert scheduler.waiting_tokens == 1
    assert step(scheduler) == (None, [])
    assert scheduler.take_to_fetch() == [one]
    assert scheduler.take_to_fetch() == []
    assert (scheduler.running, scheduler.waiting, scheduler.fetching, one.blocks) == (0, 1, 1, 5)
    assert events == []
    scheduler.fetch_ended(one, has_come=True)
    assert (scheduler.fetching, scheduler.fetched, scheduler.waiting_tokens) == (0, 1, 1)
    (stored,) = [event for event in events if isinstance(event, BlockStored)]
    assert stored.token_ids == tuple(range(40))
    assert step(scheduler) == (pytest.approx(0.001), [one])
    assert (one.cached_tokens, one.fetched_tokens, one.created_tokens) == (45, 45, 0)
    scheduler.finish(one)
    again = sequence(0, 45)
    scheduler.add(again)
    step(scheduler)
    assert again.cached_tokens == 40


def test_what_is_in_the_cache_is_not_fetched() -> None:
    """Only the rest counts as fetched, and only the rest is told."""
    scheduler, events = scheduler_of()
    first = sequence(0, 25)
    scheduler.add(first)
    step(scheduler)
    scheduler.finish(first)
    one = fetching(0, 45)
    scheduler.add(one)
    step(scheduler)
    events.clear()
    scheduler.fetch_ended(one, has_come=True)
    assert (one.cached_tokens, one.fetched_tokens) == (45, 25)
    (stored,) = [event for event in events if isinstance(event, BlockStored)]
    assert stored.token_ids == tuple(range(20, 40))
    scheduler.check_integrity()


def test_a_prompt_that_does_not_come_is_computed() -> None:
    """Whether it was waiting for blocks or for the transfer."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 10}))
    one, two = fetching(0, 50), fetching(1000, 60)
    scheduler.add(one)
    scheduler.add(two)
    step(scheduler)
    assert scheduler.take_to_fetch() == [one], "there is no room for both"
    for failed in (two, one):
        scheduler.fetch_ended(failed, has_come=False)
    assert scheduler.waiting_tokens == 110
    assert step(scheduler) == (pytest.approx(0.050), [one])
    assert (one.cached_tokens, one.fetched_tokens) == (0, 0)
    scheduler.finish(one)
    assert step(scheduler) == (pytest.approx(0.060), [two])


def test_who_has_fetched_waits_for_a_place() -> None:
    """`max_num_seqs` holds for them too, and they come before those that still want blocks."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"max_num_seqs": 1}))
    one, two, three = fetching(0, 20), sequence(1000, 20), sequence(2000, 20)
    for each in (one, two, three):
        scheduler.add(each)
    assert step(scheduler)[1] == [two]
    scheduler.fetch_ended(one, has_come=True)
    assert step(scheduler)[1] == [two]
    scheduler.finish(two)
    assert step(scheduler)[1] == [one]


def test_kept_blocks_are_in_use_until_they_are_released() -> None:
    """They cannot be evicted and are not running; afterwards they are cached as any others."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 6}))
    one, two = sequence(0, 35), sequence(1000, 35)
    scheduler.add(one)
    step(scheduler)
    assert scheduler.keep(one)
    assert (scheduler.running, scheduler.waiting, scheduler.kept_blocks) == (0, 0, 4)
    assert scheduler.cache.usage == pytest.approx(4 / 6)
    scheduler.add(two)
    assert step(scheduler) == (None, []), "there is no room beside the kept blocks"
    scheduler.finish(one)
    assert scheduler.kept_blocks == 0
    assert step(scheduler)[1] == [two]
    assert not scheduler.keep(one), "it holds nothing any more"


def test_one_that_runs_alone_waits_for_kept_blocks() -> None:
    """It is not cut short for want of a block which will be free: it gives way and comes back."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 6}))
    kept, one = sequence(0, 25), sequence(1000, 25)
    scheduler.add(kept)
    step(scheduler)
    scheduler.keep(kept)
    scheduler.add(one)
    for _ in range(6):
        step(scheduler)
    assert (scheduler.running, scheduler.waiting, scheduler.preemptions) == (0, 1, 1)
    scheduler.finish(kept)
    assert step(scheduler)[1] == [one]


def test_an_aborted_fetch_leaves_at_once() -> None:
    """Waiting for blocks, for the transfer or for a place: all blocks are free, and what comes late changes nothing."""
    scheduler, _ = scheduler_of(SPEC.model_copy(update={"kv_blocks": 10}))
    one, two, three = fetching(0, 40), fetching(1000, 40), fetching(2000, 40)
    for each in (one, two, three):
        scheduler.add(each)
    step(scheduler)
    scheduler.fetch_ended(two, has_come=True)
    for each in (one, two, three):
        scheduler.finish(each)
    assert (scheduler.waiting, scheduler.cache.usage) == (0, 0)
    scheduler.fetch_ended(one, has_come=True)
    assert scheduler.take_to_fetch() == []
    assert step(scheduler) == (None, [])
