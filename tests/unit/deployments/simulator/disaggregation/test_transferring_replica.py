"""The simulator's engine against one that takes every step by itself; its blocks are held until they are fetched."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from deployments.simulator.disaggregation.engine_sequence import EngineSequence, Leg
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.disaggregation.step_times import StepTimes
from deployments.simulator.disaggregation.transferring_replica import TransferringReplica

COST = ReplicaCost(known_model("llama-3.1-70b").in_precision(FP8), ACCELERATORS["h100"], Layout(4), FP8)
FETCH_S = 0.037


@dataclass
class Asked:
    """One request, and what came of it. Times are seconds.

    Attributes:
        at_s: when it comes.
        leg: what the replica does of it.
        prompt_tokens: tokens of its prompt.
        output_tokens: tokens of its answer.
        left: prompt tokens that the plain engine still has to compute.
        made: tokens that the plain engine has generated.
        first_s: when its first token came, or its prompt was computed for another replica.
        last_s: when its last token came.
    """

    at_s: float
    leg: Leg
    prompt_tokens: int
    output_tokens: int
    left: int = 0
    made: int = 0
    first_s: float = 0.0
    last_s: float = 0.0


@dataclass
class PlainEngine:
    """The same engine with endless KV cache and nothing cached, one step after the other."""

    step_tokens: int
    most: int
    waiting: list[Asked] = field(default_factory=list)
    fetching: list[tuple[float, Asked]] = field(default_factory=list)
    prefilling: list[Asked] = field(default_factory=list)
    decoding: list[Asked] = field(default_factory=list)

    def run(self, asked: Sequence[Asked]) -> None:
        """Serve all requests."""
        queue, now_s = list(asked), 0.0
        while queue or self.waiting or self.fetching or self.prefilling or self.decoding:
            while queue and queue[0].at_s <= now_s:
                self.waiting.append(queue.pop(0))
            for each in [each for each in self.fetching if each[0] <= now_s]:
                self.fetching.remove(each)
                self.prefilling.append(each[1])
            plan = self._plan(now_s)
            if not plan and not self.decoding:
                now_s = min([each[0] for each in self.fetching] + [each.at_s for each in queue[:1]])
                continue
            now_s += self._step_s(plan)
            self._end_step(plan, now_s)

    def _plan(self, now_s: float) -> list[tuple[Asked, int]]:
        budget = self.step_tokens - len(self.decoding)
        plan: list[tuple[Asked, int]] = []
        for each in self.prefilling:
            if budget > 0:
                plan.append((each, min(budget, each.left)))
                budget -= plan[-1][1]
        running = len(self.prefilling) + len(self.decoding)
        while self.waiting and budget > 0 and running + len(self.fetching) < self.most:
            each = self.waiting.pop(0)
            if each.leg is Leg.CONTINUES:
                each.left = 1
                self.fetching.append((now_s + FETCH_S, each))
                continue
            each.left = each.prompt_tokens
            self.prefilling.append(each)
            running += 1
            plan.append((each, min(budget, each.left)))
            budget -= plan[-1][1]
        return plan

    def _step_s(self, plan: list[tuple[Asked, int]]) -> float:
        prefill = sum(tokens for _, tokens in plan)
        attended = sum(tokens * (each.prompt_tokens - each.left + tokens / 2) for each, tokens in plan)
        context = sum(each.prompt_tokens + each.made for each in self.decoding)
        return COST.step_at(
            len(self.decoding), prefill, context / max(1, len(self.decoding)), attended / max(1, prefill)
        ).total

    def _end_step(self, plan: list[tuple[Asked, int]], now_s: float) -> None:
        for each in list(self.decoding):
            each.made += 1
            if each.made == each.output_tokens:
                each.last_s = now_s
                self.decoding.remove(each)
        for each, tokens in plan:
            each.left -= tokens
            if not each.left:
                each.first_s, each.made = now_s, 1
                self.prefilling.remove(each)
                if each.leg is not Leg.COMPUTES and each.output_tokens > 1:
                    self.decoding.append(each)
                else:
                    each.last_s = now_s


def replica(step_tokens: int = 2048, most: int = 1024, kv_tokens: int = 10**9) -> TransferringReplica[Asked]:
    """Return the simulator's engine."""
    return TransferringReplica(StepTimes(COST), kv_tokens=kv_tokens, step_tokens=step_tokens, max_sequences=most)


def served(machine: TransferringReplica[Asked], asked: Sequence[Asked]) -> None:
    """Serve all requests on the simulator's engine; every fetch takes `FETCH_S`, and what is computed is fetched."""
    queue = list(asked)
    arrivals: list[tuple[float, int, EngineSequence[Asked]]] = []
    number = 0
    while queue or arrivals or machine.next_s is not None:
        times = [queue[0].at_s if queue else float("inf"), arrivals[0][0] if arrivals else float("inf")]
        step_s = machine.next_s if machine.next_s is not None else float("inf")
        now_s = min(*times, step_s)
        if times[0] == now_s:
            each = queue.pop(0)
            machine.add(each, each.leg, (), each.prompt_tokens, each.output_tokens, now_s)
        elif times[1] == now_s:
            machine.arrived(arrivals.pop(0)[2], now_s)
        else:
            happened = machine.advance()
            for sequence in happened.began:
                sequence.owner.first_s = now_s
            for sequence in happened.ended:
                sequence.owner.last_s = now_s
            for sequence in happened.computed:
                sequence.owner.first_s = sequence.owner.last_s = now_s
                machine.fetched(sequence, now_s)
        for sequence in machine.wants:
            arrivals.append((now_s + FETCH_S, number, sequence))
            number += 1
        machine.wants = []
        machine.kv.check_integrity()


def drawn(rng: Random, count: int, per_s: float, legs: Sequence[Leg]) -> list[Asked]:
    """Return requests of all lengths."""
    at_s, asked = 0.0, []
    for _ in range(count):
        at_s += rng.expovariate(per_s)
        prompt, output = int(rng.lognormvariate(6.0, 1.5)) + 1, int(rng.lognormvariate(3.5, 1.2)) + 1
        asked.append(Asked(at_s, rng.choice(legs), prompt, output))
    return asked


@pytest.mark.parametrize("seed", range(10))
def test_times_are_those_of_single_steps(seed: int) -> None:
    """At any load, for all legs together, all tokens come when they do in single steps of the cost model's times."""
    rng = Random(seed)
    step_tokens, most = rng.choice([64, 512, 2048, 8192]), rng.choice([4, 32, 1024])
    asked = drawn(rng, 150, rng.choice([2.0, 10.0, 60.0]), list(Leg))
    plain = [Asked(each.at_s, each.leg, each.prompt_tokens, each.output_tokens) for each in asked]
    PlainEngine(step_tokens, most).run(plain)
    served(replica(step_tokens, most), asked)
    for ours, theirs in zip(asked, plain, strict=True):
        assert ours.first_s == pytest.approx(theirs.first_s, rel=1e-9)
        assert ours.last_s == pytest.approx(theirs.last_s, rel=1e-9)


def test_blocks_are_held_until_they_are_fetched() -> None:
    """A computed prompt keeps exactly its blocks in use; they are cached, and free, once another replica has them."""
    machine = replica(kv_tokens=100 * BLOCK_TOKENS)
    blocks = list(range(1, 9))
    machine.add(Asked(0.0, Leg.COMPUTES, 0, 0), Leg.COMPUTES, blocks, 8 * BLOCK_TOKENS + 100, 500, 0.0)
    computed: list[EngineSequence[Asked]] = []
    while machine.next_s is not None:
        computed += machine.advance().computed
    assert len(computed) == 1
    assert machine.kv.used == 9
    assert machine.is_idle
    report = machine.report(10.0)
    assert (report.running, report.waiting, report.waiting_tokens, report.accepted) == (0, 0, 0, 1)
    assert report.kv_usage == pytest.approx(0.09)
    machine.fetched(computed[0], 10.0)
    assert machine.kv.used == 0
    assert machine.kv.matched(blocks) == 8
    delta = machine.kv.delta()
    assert delta is not None
    assert delta.resident.tolist() == blocks
    assert delta.tokens.tolist() == [place * BLOCK_TOKENS for place in blocks]


def test_a_prompt_that_does_not_fit_waits_until_blocks_are_fetched() -> None:
    """With all blocks held for others nothing is taken in; the fetch lets the next prompt in."""
    machine = replica(kv_tokens=10 * BLOCK_TOKENS)
    machine.add(Asked(0.0, Leg.COMPUTES, 0, 0), Leg.COMPUTES, (), 9 * BLOCK_TOKENS, 1, 0.0)
    computed: list[EngineSequence[Asked]] = []
    while machine.next_s is not None:
        computed += machine.advance().computed
    machine.add(Asked(5.0, Leg.COMPUTES, 0, 0), Leg.COMPUTES, (), 3 * BLOCK_TOKENS, 1, 5.0)
    report = machine.report(5.0)
    assert (report.running, report.waiting) == (0, 1)
    machine.fetched(computed[0], 6.0)
    assert machine.report(6.0).running == 1
    assert len(machine.advance().computed) == 1


def test_a_continued_request_waits_for_room_then_for_its_blocks() -> None:
    """It asks for them only once there is room, and its prompt is cached here from their arrival on."""
    machine = replica(kv_tokens=10 * BLOCK_TOKENS)
    machine.add(Asked(0.0, Leg.WHOLE, 0, 0), Leg.WHOLE, (), 8 * BLOCK_TOKENS, 100, 0.0)
    machine.add(Asked(0.0, Leg.CONTINUES, 0, 0), Leg.CONTINUES, [1, 2], 2 * BLOCK_TOKENS + 7, 50, 0.0)
    assert machine.wants == []
    ended = 0
    while not machine.wants:
        ended += len(machine.advance().ended)
    assert ended == 1
    (wanted,) = machine.wants
    machine.wants = []
    assert machine.next_s is None
    assert machine.kv.matched([1, 2]) == 0
    machine.arrived(wanted, 9.0)
    assert machine.kv.matched([1, 2]) == 2
    happened = machine.advance()
    assert [sequence.owner for sequence in happened.began] == [wanted.owner]


def test_cached_blocks_are_not_computed_again() -> None:
    """The second of two equal prompts computes its last block's rest alone, and at least one token of a whole match."""
    machine = replica()
    for blocks, tokens in (([1, 2, 3], 3 * BLOCK_TOKENS + 9), ([1, 2, 3], 3 * BLOCK_TOKENS)):
        cached = []
        for at_s in (0.0, 10.0):
            machine.add(Asked(at_s, Leg.WHOLE, 0, 0), Leg.WHOLE, blocks, tokens, 1, at_s)
            cached += [sequence.cached_tokens for sequence in machine.advance().ended]
        assert cached[-1] == min(3 * BLOCK_TOKENS, tokens - 1)
