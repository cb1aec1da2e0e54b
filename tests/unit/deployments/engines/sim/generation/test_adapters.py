"""LoRA adapters in the simulated batch: slots, loads, and who may go before whom."""

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.extra_keys import extra_of
from deployments.engines.interface import BlockStored, KvEvent
from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.generation.scheduler import SimScheduler
from deployments.engines.sim.generation.sequence import Sequence

SPEC = SimSpec(prefill_tokens_per_s=1000.0, inter_token_s=0.01, adapter_load_s=0.5)
NAMES = ("a", "b", "c")


def _scheduler(slots: int = 2, events: KvEventHub | None = None) -> SimScheduler:
    scheduler = SimScheduler(SPEC, events or KvEventHub(SPEC.block_tokens), slots)
    scheduler.adapters.set_known(NAMES)
    return scheduler


def _sequence(adapter: str, text: str = "a prompt of many words, all alike. " * 20, salt: str = "") -> Sequence:
    prompt = SimPrompt(text, 4.0, from_ids=False, answer_from=len(text), salt=salt, adapter=adapter)
    return Sequence(prompt, SPEC.block_tokens)


def _step(scheduler: SimScheduler) -> tuple[float, list[Sequence]]:
    step_s = scheduler.begin_step()
    assert step_s is not None
    sampled = scheduler.end_step()
    for sequence in sampled:
        scheduler.append(sequence, "word")
    scheduler.check_integrity()
    return step_s, sampled


def test_a_load_stops_the_batch() -> None:
    """The step in which an adapter is loaded lasts that much longer; the next one with it does not."""
    scheduler = _scheduler()
    scheduler.add(_sequence(""))
    without_s, _ = _step(scheduler)
    scheduler.add(_sequence("a"))
    with_s, sampled = _step(scheduler)
    assert with_s > 0.5 > without_s
    assert len(sampled) == 2, "the sequence without an adapter goes on, later"
    scheduler.add(_sequence("a", "another prompt"))
    assert _step(scheduler)[0] < 0.5
    assert (scheduler.adapters.held, scheduler.adapters.loads, scheduler.adapters.load_s) == (("a",), 1, 0.5)


def test_a_third_adapter_waits_and_lets_others_by() -> None:
    """Of two slots in use, the third adapter waits until one is free; those behind it that fit go before."""
    scheduler = _scheduler()
    a, b, c, behind = _sequence("a"), _sequence("b"), _sequence("c"), _sequence("", "no adapter")
    for sequence in (a, b, c, behind):
        scheduler.add(sequence)
    assert set(_step(scheduler)[1]) == {a, b, behind}
    assert scheduler.waiting == 1
    scheduler.finish(a)
    assert c in _step(scheduler)[1]
    assert scheduler.adapters.held == ("b", "c"), "`a` was the one that nobody used"


def test_the_least_recently_used_adapter_goes() -> None:
    """An adapter that was used again stays longer than one that was loaded after it."""
    scheduler = _scheduler()
    for adapter in ("a", "b", "a", "c"):
        sequence = _sequence(adapter, f"{adapter} {scheduler.adapters.loads}")
        scheduler.add(sequence)
        _step(scheduler)
        scheduler.finish(sequence)
    assert scheduler.adapters.held == ("a", "c")
    assert scheduler.adapters.loads == 3


def test_adapters_that_are_no_longer_served_are_dropped() -> None:
    """What runs with one goes on; its slot is given back when it ends and another needs it."""
    scheduler = _scheduler()
    running, idle = _sequence("a"), _sequence("b")
    scheduler.add(running)
    scheduler.add(idle)
    _step(scheduler)
    scheduler.finish(idle)
    scheduler.adapters.set_known(["c"])
    assert scheduler.adapters.held == ("a",)
    assert running in _step(scheduler)[1]


def test_blocks_are_an_adapters_own() -> None:
    """The same text under another adapter, or none, shares no block; events say whose each block is, as vLLM's do."""
    events = KvEventHub(SPEC.block_tokens)
    seen: list[KvEvent] = []
    events.subscribe(seen.append)
    scheduler = _scheduler(events=events)
    cached = []
    for adapter, salt in (("", ""), ("a", ""), ("b", ""), ("a", ""), ("a", "tenant")):
        sequence = _sequence(adapter, salt=salt)
        scheduler.add(sequence)
        _step(scheduler)
        cached.append(bool(sequence.cached_tokens))
        scheduler.finish(sequence)
    assert cached == [False, False, False, True, False]
    stored = [event for event in seen if isinstance(event, BlockStored)]
    blocks = len(stored[0].block_hashes)
    assert [event.extra_keys for event in stored] == [
        (),
        (extra_of(["a"]),) * blocks,
        (extra_of(["b"]),) * blocks,
        (extra_of(["a", "tenant"]), *[extra_of(["a"])] * (blocks - 1)),
    ]
