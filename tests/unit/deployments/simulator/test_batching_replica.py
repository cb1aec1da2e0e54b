"""The fast replica tells the same times as the simulated engine's own scheduler, step for step."""

from random import Random

import pytest

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.generation.scheduler import SimScheduler
from deployments.engines.sim.generation.sequence import Sequence
from deployments.simulator.batching_replica import BatchingReplica

Arrival = tuple[float, int, int]
Times = dict[int, tuple[float, float]]


def by_the_engine(spec: SimSpec, arrivals: list[Arrival]) -> Times:
    """First token and end of each request, by the engine's scheduler, one step at a time."""
    scheduler = SimScheduler(spec, KvEventHub())
    first_s: dict[int, float] = {}
    ended: Times = {}
    numbers: dict[int, int] = {}
    left: dict[int, int] = {}
    queue = list(enumerate(arrivals))
    now_s = 0.0
    while queue or numbers:
        while queue and queue[0][1][0] <= now_s:
            number, (_, prompt_tokens, output_tokens) = queue.pop(0)
            units = chr(0x4E00 + number) * prompt_tokens
            sequence = Sequence(SimPrompt(units, 1.0, from_ids=False, answer_from=prompt_tokens), spec.block_tokens)
            numbers[id(sequence)], left[number] = number, output_tokens
            scheduler.add(sequence)
        step_s = scheduler.begin_step()
        if step_s is None:
            now_s = queue[0][1][0]
            continue
        now_s += step_s
        for sampled in scheduler.end_step():
            number = numbers[id(sampled)]
            first_s.setdefault(number, now_s)
            left[number] -= 1
            if left[number]:
                assert scheduler.append(sampled, "x")
            else:
                scheduler.finish(sampled)
                del numbers[id(sampled)]
                ended[number] = (first_s[number], now_s)
    return ended


def by_the_fast_one(spec: SimSpec, arrivals: list[Arrival]) -> Times:
    """The same, by the replica of the simulator."""
    replica: BatchingReplica[int] = BatchingReplica(spec)
    first_s: dict[int, float] = {}
    ended: Times = {}
    queue = list(enumerate(arrivals))
    while queue or replica.next_s is not None:
        if queue and (replica.next_s is None or queue[0][1][0] <= replica.next_s):
            number, (at_s, prompt_tokens, output_tokens) = queue.pop(0)
            replica.add(number, prompt_tokens, output_tokens, at_s)
            continue
        now_s = replica.next_s
        assert now_s is not None
        first, done = replica.advance()
        first_s.update(dict.fromkeys(first, now_s))
        ended.update({number: (first_s[number], now_s) for number in done})
    return ended


@pytest.mark.parametrize("seed", range(12))
def test_times_are_the_engines(seed: int) -> None:
    """Every first token and every end comes when the engine's scheduler has it, at any load."""
    rng = Random(seed)
    spec = SimSpec(
        prefill_tokens_per_s=rng.choice([4_000.0, 20_000.0]),
        max_num_seqs=rng.choice([4, 32, 256]),
        kv_blocks=1_000_000,
    )
    at_s, arrivals = 0.0, []
    for _ in range(120):
        at_s += rng.expovariate(rng.choice([2.0, 20.0]))
        arrivals.append((at_s, rng.choice([1, 100, 2048, 2049, 9_000]), rng.choice([1, 2, 40, 200])))
    expected, got = by_the_engine(spec, arrivals), by_the_fast_one(spec, arrivals)
    assert len(got) == len(arrivals)
    for number, (first_s, end_s) in expected.items():
        assert got[number] == pytest.approx((first_s, end_s), abs=1e-6)


def test_its_reports_count_what_it_has() -> None:
    """A report tells who runs, who waits and how much is not prefilled yet, also within a long prefill."""
    spec = SimSpec(prefill_tokens_per_s=2_048.0, max_num_seqs=1)
    replica: BatchingReplica[str] = BatchingReplica(spec)
    replica.add("long", 4 * 2_048, 5, 0.0)
    replica.add("next", 100, 5, 0.0)
    report = replica.report(2.5)
    assert (report.running, report.waiting, report.accepted) == (1, 1, 2)
    assert report.waiting_tokens == 2 * 2_048 + 100
    assert replica.next_s == 4.0
    assert replica.advance() == (["long"], [])
    assert replica.report(4.0).prefill_tokens_per_s == pytest.approx(2_048.0)
