"""The simulated fleet does what the live dispatcher's tickets say: both legs, limits; the same every time."""

from dataclasses import replace
from random import Random

import pytest

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.spec.role import Role
from deployments.simulator.disaggregation.fates import FleetRun, RequestFate
from deployments.simulator.disaggregation.fleet import run_pools
from deployments.simulator.disaggregation.pools import MODEL, PooledFleet, SimPool
from deployments.simulator.disaggregation.prompts import LatencyLimits, PromptRequest, block_chain
from deployments.simulator.disaggregation.step_times import StepTimes
from router.dispatch.dispatcher import Dispatcher

COST = ReplicaCost(known_model("llama-3.1-70b").in_precision(FP8), ACCELERATORS["h100"], Layout(4), FP8)
ONE = PooledFleet(COST, [SimPool("all", Role.BOTH, 2, 512)], domains=1)
TWO = PooledFleet(COST, [SimPool("p", Role.PREFILL, 1, 8192), SimPool("d", Role.DECODE, 1, 512)], domains=1)
LENIENT = LatencyLimits(60.0, 1.0)


def dispatcher() -> Dispatcher:
    """Return the live dispatcher."""
    return Dispatcher(MODEL, "expected_ttft", rng=Random(1))


def load(count: int, prompt_tokens: int = 12_000, *, limits: LatencyLimits = LENIENT) -> list[PromptRequest]:
    """Return requests of which every third has a prefix of two blocks in common with the others."""
    rng, at, found = Random(7), 0.0, []
    for number in range(count):
        at += rng.expovariate(1.0)
        tokens = max(1_100, int(prompt_tokens * rng.uniform(0.5, 1.5)))
        chain = block_chain([11, 12] if number % 3 == 0 else [], tokens)
        found.append(PromptRequest(at, tokens, rng.randrange(1, 300), chain, limits))
    return found


def served(fleet: PooledFleet, requests: list[PromptRequest], per_s: float) -> FleetRun:
    """Return what came of all requests."""
    return run_pools(requests, per_s, fleet, dispatcher(), measured=range(len(requests)))


def test_one_request_on_an_idle_fleet_takes_what_the_cost_model_says() -> None:
    """Its prompt's chunks, then a step for each token of its answer."""
    request = PromptRequest(0.5, 2_000, 3, block_chain([], 2_000), LENIENT)
    (fate,) = served(ONE, [request], 1.0).fates
    times = StepTimes(replace(COST, step_tokens=512))
    assert fate.ttft_s == pytest.approx(times.prompt_s(2_000, 512))
    assert fate.tpot_s == pytest.approx(times.tokens_s(1, 0) + times.decode_s * 2_001.5)
    assert (fate.computed_tokens, fate.apart, fate.missed) == (2_000, False, False)


def test_every_request_is_answered_and_no_block_stays_held() -> None:
    """With prompts computed apart and with those that are not; caches are used, and nothing is in use at the end."""
    run = served(TWO, load(200), 2.0)
    assert all(fate.last_s is not None and fate.first_s is not None and not fate.missed for fate in run.fates)
    assert any(fate.apart for fate in run.fates)
    assert run.held_blocks == 0
    assert any(fate.computed_tokens == fate.request.prompt_tokens - 1_024 for fate in run.fates)
    assert (run.missed, run.refused, run.is_cut) == (0, 0, False)


def test_a_divided_request_costs_a_transfer_and_spares_the_streams() -> None:
    """On one prefill and one decode replica the longest usual gap is far below that of two ordinary replicas."""
    requests = load(200)
    apart, together = served(TWO, requests, 2.0), served(ONE, requests, 2.0)
    assert apart.gap_s(0.5) < together.gap_s(0.99)
    assert together.gap_s(0.99) > 0.02


def test_the_same_load_gives_the_same_run() -> None:
    """To the last digit."""
    requests = load(120)
    first, second = served(TWO, requests, 3.0), served(TWO, requests, 3.0)
    assert first.fates == second.fates
    assert first.gaps == second.gaps


def test_a_run_is_cut_once_too_many_missed_their_limits() -> None:
    """Overloaded, it ends with the first miss beyond those allowed, long before the load; a whole run counts all."""
    requests = load(300, limits=LatencyLimits(1.0, 0.05))
    cut = run_pools(requests, 20.0, ONE, dispatcher(), measured=range(300), most_missed=5)
    whole = run_pools(requests, 20.0, ONE, dispatcher(), measured=range(300))
    assert cut.is_cut
    assert cut.missed == 6
    assert cut.seconds < whole.seconds / 2
    assert whole.missed > 100
    assert all(is_late(fate) == fate.missed for fate in whole.fates)


def is_late(fate: RequestFate) -> bool:
    """Tell whether a request was refused, late at its first token or slow after it, by its times alone."""
    limits = fate.request.limits
    return fate.ttft_s is None or fate.tpot_s is None or fate.ttft_s > limits.ttft_s or fate.tpot_s > limits.tpot_s


def test_only_measured_requests_count() -> None:
    """Those before fill the fleet, and those after keep it full: the run ends with the last measured one."""
    run = run_pools(load(100), 2.0, ONE, dispatcher(), measured=range(20, 40))
    assert [fate.counts for fate in run.fates[:40]] == [False] * 20 + [True] * 20
    assert len(run.measured) == 20
    assert all(fate.last_s is not None for fate in run.measured)
    assert len(run.fates) < 100
