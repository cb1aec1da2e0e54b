"""The simulated engine's cores under any sequence of operations: blocks conserved, capacity never exceeded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.model_parts.speculative_spec import SpeculativeSpec
from deployments.engines.events import KvEventHub
from deployments.engines.interface import BlockRemoved, BlockStored, KvEvent
from deployments.engines.sim.generation.cache import KvCache
from deployments.engines.sim.generation.drafting import Drafting
from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.generation.scheduler import SimScheduler
from deployments.engines.sim.generation.sequence import Sequence, SequenceState

BLOCK = 4


@settings(deadline=None)
@given(
    capacity=st.integers(1, 12),
    operations=st.lists(
        st.tuples(st.sampled_from(["begin", "end"]), st.integers(0, 5), st.integers(0, 6)), max_size=60
    ),
)
def test_the_cache_conserves_blocks(capacity: int, operations: list[tuple[str, int, int]]) -> None:
    """Held, idle, private and free add up to the capacity; what is told as removed is not held by anyone."""

    def on_removed(gone: tuple[int, ...]) -> None:
        assert not {name for hashes, _ in holdings for name in hashes} & set(gone)

    cache = KvCache(capacity, on_removed)
    holdings: list[tuple[list[int], int]] = []
    for name, chain, length in operations:
        if name == "begin":
            hashes = [chain * 100 + place for place in range(length)]
            found = hashes[: cache.matched(hashes)]
            missing = length - len(found) + 1
            if cache.can_take(missing, found):
                cache.hold(found)
                cache.take(missing)
                for new in hashes[len(found) :]:
                    cache.commit(new)
                holdings.append((hashes, 1))
        elif holdings:
            cache.release(*holdings.pop(chain % len(holdings)))
        cache.check_integrity()
        cache.check_held(holdings)
    assert 0 <= cache.usage <= 1


@st.composite
def _operations(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "fetch", "come", "fail", "step", "step", "step", "keep", "finish"]),
                st.integers(0, 3),
                st.integers(1, 40),
            ),
            max_size=80,
        )
    )


def _step(scheduler: SimScheduler, live: list[Sequence]) -> None:
    if scheduler.begin_step() is not None:
        for sequence in scheduler.end_step():
            if not all(scheduler.append(sequence, "z") for _ in range(1 + scheduler.accepted(sequence))):
                scheduler.finish(sequence)
                live.remove(sequence)


def _drafting(acceptance: float | None) -> Drafting | None:
    if acceptance is None:
        return None
    return Drafting(SpeculativeSpec(method="ngram", tokens=6), SimSpec(acceptance=acceptance))


def _change(scheduler: SimScheduler, live: list[Sequence], kept: set[Sequence], name: str, which: int) -> None:
    one = live[which % len(live)]
    if name == "finish":
        scheduler.finish(one)
        live.remove(one)
        kept.discard(one)
    elif name == "keep":
        if one not in kept and scheduler.keep(one):
            kept.add(one)
    else:
        scheduler.take_to_fetch()
        for sequence in live:
            if sequence.state is SequenceState.FETCHING or (name == "fail" and sequence.is_fetch):
                scheduler.fetch_ended(sequence, has_come=name == "come")
                return


@settings(max_examples=200, deadline=None)
@given(
    operations=_operations(),
    blocks=st.integers(10, 16),
    places=st.integers(1, 4),
    acceptance=st.sampled_from([None, 0.5, 1.0]),
)
def test_events_are_the_cache(
    operations: list[tuple[str, int, int]], blocks: int, places: int, acceptance: float | None
) -> None:
    """After any run, fetches, kept prompts and drafts included, blocks told and not removed are those the cache has."""
    told: set[object] = set()

    def keep(event: KvEvent) -> None:
        if isinstance(event, BlockStored):
            assert len(event.token_ids) == BLOCK * len(event.block_hashes)
            assert not told & set(event.block_hashes), "told twice without having left"
            told.update(event.block_hashes)
        elif isinstance(event, BlockRemoved):
            assert told.issuperset(event.block_hashes)
            told.difference_update(event.block_hashes)

    hub = KvEventHub()
    hub.subscribe(keep)
    spec = SimSpec(kv_blocks=blocks, block_tokens=BLOCK, max_num_seqs=places, chars_per_token=1.0)
    scheduler = SimScheduler(spec, hub, drafting=_drafting(acceptance))
    live: list[Sequence] = []
    kept: set[Sequence] = set()
    for name, which, length in operations:
        if name == "step":
            _step(scheduler, live)
        elif name in {"add", "fetch"}:
            text = ("abcd"[which] * 100)[:length]
            live.append(Sequence(SimPrompt(text, 1.0, from_ids=True, answer_from=length), BLOCK))
            live[-1].is_fetch = name == "fetch"
            scheduler.add(live[-1])
        elif live:
            _change(scheduler, live, kept, name, which)
        scheduler.check_integrity()
        assert scheduler.running <= places
        assert scheduler.running + scheduler.waiting + len(kept) == len(live)
    known = {name for sequence in live for name in sequence.hashes} | told
    assert {name for name in known if scheduler.cache.matched([name])} == told  # type: ignore[list-item]


@settings(max_examples=100, deadline=None)
@given(prompts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), min_size=1, max_size=12))
def test_every_request_is_served(prompts: list[tuple[int, int]]) -> None:
    """Whatever the cache's size and the requests' lengths, all of them end: nothing waits for ever."""
    spec = SimSpec(kv_blocks=10, block_tokens=BLOCK, max_num_seqs=3)
    scheduler = SimScheduler(spec, KvEventHub())
    tokens: dict[Sequence, int] = {}
    for which, length in prompts:
        sequence = Sequence(SimPrompt("abcd"[which] * length, 1.0, from_ids=True, answer_from=length), BLOCK)
        tokens[sequence] = 0
        scheduler.add(sequence)
    for _ in range(2000):
        if scheduler.begin_step() is None:
            break
        for sequence in scheduler.end_step():
            tokens[sequence] += 1
            if tokens[sequence] == 9 or not scheduler.append(sequence, "z"):
                scheduler.finish(sequence)
        scheduler.check_integrity()
    assert (scheduler.running, scheduler.waiting) == (0, 0)
    assert all(count == 9 for count in tokens.values())
