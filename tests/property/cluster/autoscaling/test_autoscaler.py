"""The autoscaler stays in its bounds, follows the load, forgets nothing it needs and can be replayed."""

import pickle
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.autoscaling.autoscaler import Autoscaler, AutoscalerState
from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.targets import AutoscalingTargets

RATE = 1_000.0
"""Work a second of one replica in `FluidFleet`."""


class FluidFleet:
    """The simplest fleet there can be: work flows in, waits, and flows out at a fixed rate for each ready replica."""

    def __init__(self, replicas: int, cold_start_s: float, longest_wait_s: float = 60.0) -> None:
        self.ready = replicas
        self.starting: list[float] = []
        self.cold_start_s = cold_start_s
        self.longest_wait_s = longest_wait_s
        self.waiting = 0.0
        self.offered = self.squared = self.dispatched = 0.0
        self.requests = 0
        self.busy = 0.0
        self.most_waiting_s = 0.0
        self.replica_s = 0.0

    def step(self, works: list[float], now_s: float, step_s: float, target: int) -> FleetMetrics:
        """Let `step_s` pass, in which requests of these works come; then have `target` replicas ordered."""
        durations_s = tuple(self.cold_start_s for at_s in self.starting if at_s <= now_s)
        self.starting = [at_s for at_s in self.starting if at_s > now_s]
        self.ready += len(durations_s)
        while self.ready + len(self.starting) < target:
            self.starting.append(now_s + self.cold_start_s)
        while self.ready + len(self.starting) > target:
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1
        self.replica_s += step_s * (self.ready + len(self.starting))
        self.requests += len(works)
        self.offered += sum(works)
        self.squared += sum(work * work for work in works)
        self.waiting += sum(works)
        capacity = self.ready * RATE * step_s
        served = min(self.waiting, capacity)
        self.waiting = min(self.waiting - served, max(1, self.ready) * RATE * self.longest_wait_s)
        self.dispatched += served
        if self.ready:
            self.most_waiting_s = max(self.most_waiting_s, self.waiting / (self.ready * RATE))
        return FleetMetrics(
            ready=self.ready,
            starting=len(self.starting),
            waiting_requests=int(self.waiting / 100.0) + (self.waiting > 0),
            waiting_work=self.waiting,
            in_flight=int(served / 100.0) + (served > 0),
            utilisation=served / capacity if capacity else 0.0,
            offered_requests=self.requests,
            offered_work=self.offered,
            offered_work_squared=self.squared,
            dispatched_work=self.dispatched,
            start_durations_s=durations_s,
        )


def drive(  # noqa: PLR0913 - one run's parameters
    policy: Autoscaler,
    per_s: Callable[[float], float],
    until_s: float,
    *,
    rng: Random,
    replicas: int = 1,
    cold_start_s: float = 60.0,
    work: float = 100.0,
    step_s: float = 1.0,
) -> tuple[FluidFleet, list[ScalingDecision]]:
    """Run a policy on a fluid fleet; `per_s` is the work offered a second, in exponential requests of mean `work`."""
    fleet = FluidFleet(replicas, cold_start_s)
    state, decisions, now_s = policy.initial(replicas), [], 0.0
    while now_s < until_s:
        mean = per_s(now_s) * step_s / work
        works, left = [], rng.expovariate(1.0)
        while left < mean:
            works.append(rng.expovariate(1.0 / work))
            left += rng.expovariate(1.0)
        metrics = fleet.step(works, now_s, step_s, state.target)
        state, decision = policy.decide(state, metrics, now_s)
        decisions.append(decision)
        now_s += step_s
    return fleet, decisions


def changes(decisions: list[ScalingDecision], from_s: float = 0.0) -> list[ScalingDecision]:
    """Those that changed the target, from a time on."""
    return [decision for decision in decisions if decision.target != decision.previous and decision.at_s >= from_s]


METRICS = st.builds(
    FleetMetrics,
    ready=st.integers(0, 30),
    starting=st.integers(0, 30),
    waiting_requests=st.integers(0, 10_000),
    waiting_work=st.floats(0, 1e9),
    engine_waiting_work=st.floats(0, 1e9),
    engine_wait_s=st.floats(0, 1e4),
    in_flight=st.integers(0, 10_000),
    utilisation=st.floats(0, 1),
    offered_requests=st.integers(0, 10**9),
    offered_work=st.floats(0, 1e12),
    offered_work_squared=st.floats(0, 1e18),
    dispatched_work=st.floats(0, 1e12),
    start_durations_s=st.lists(st.floats(0, 1e4), max_size=3).map(tuple),
)
RUNS = st.lists(st.tuples(METRICS, st.floats(0.0, 400.0)), min_size=1, max_size=25)


@given(run=RUNS, low=st.integers(0, 5), span=st.integers(0, 20), first=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_targets_stay_in_bounds_and_runs_replay(
    run: list[tuple[FleetMetrics, float]], low: int, span: int, first: int
) -> None:
    """Whatever the metrics say, the target is within its bounds, has a reason, and the same run decides the same.

    The state is pickled halfway: nothing but it is needed to go on.
    """
    targets = AutoscalingTargets(min_replicas=low, max_replicas=max(1, low + span))
    policy = Autoscaler(targets)
    state, again = policy.initial(first), policy.initial(first)
    now_s = 0.0
    for number, (metrics, passed_s) in enumerate(run):
        now_s += passed_s
        state, decision = policy.decide(state, metrics, now_s)
        assert targets.min_replicas <= decision.target <= targets.max_replicas
        assert decision.target == state.target
        assert decision.reasons
        if number == len(run) // 2:
            again = pickle.loads(pickle.dumps(again))  # noqa: S301 - our own bytes
        again, replayed = Autoscaler(targets).decide(again, metrics, now_s)
        assert replayed == decision
        assert len(state.seen.demand.samples) <= len(run) + 1
        assert len(state.needs) <= len(run)


@pytest.mark.parametrize("load", [0.6, 3.0, 8.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.15])
def test_noise_around_a_constant_load_moves_nothing(load: float, noise: float) -> None:
    """After it has settled, the target changes at most once in any ten minutes, however the noise falls."""
    rng = Random(11)
    factors = [max(0.0, rng.gauss(1.0, noise)) for _ in range(1_000)]
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=40))
    _, decisions = drive(policy, lambda at_s: load * RATE * factors[int(at_s / 10.0)], 4_800.0, rng=rng, replicas=4)
    late = [decision.at_s for decision in changes(decisions, from_s=1_200.0)]
    assert all(after - before >= 600.0 for before, after in pairwise(late)), late


@given(seed=st.integers(0, 10_000), low=st.floats(1.0, 4.0), factor=st.floats(3.0, 6.0))
@settings(max_examples=12, deadline=None)
def test_a_step_is_followed_within_seconds(seed: int, low: float, factor: float) -> None:
    """Two or three seconds after a step the target has been raised, soon to what the new load needs and not far above.

    A request is a hundredth of a replica-second, so the step is beyond doubt at once.
    """
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=100))
    _, decisions = drive(
        policy,
        lambda at_s: low * RATE * (factor if at_s >= 600.0 else 1.0),
        700.0,
        rng=Random(seed),
        replicas=int(2 * low) + 1,
        work=10.0,
    )
    before = next(decision.target for decision in decisions if decision.at_s == 599.0)
    after = {decision.at_s: decision.target for decision in decisions}
    assert after[602.0] > before
    assert after[610.0] >= low * factor
    # What has piled up during the cold start is worked off too: at most a minute's wait of the old fleet, in a minute.
    assert max(after.values()) <= 1.3 * (low * factor + before) + 2


@given(seed=st.integers(0, 10_000), load=st.floats(2.0, 8.0))
@settings(max_examples=8, deadline=None)
def test_scaling_down_is_slow_and_never_refills_the_queue(seed: int, load: float) -> None:
    """When load falls to a third, replicas go only after a while, and no request waits long because of it."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=40))
    rng = Random(seed)
    fleet, decisions = drive(
        policy,
        lambda at_s: load * RATE / (3.0 if at_s >= 1_200.0 else 1.0),
        2_700.0,
        rng=rng,
        replicas=int(2 * load) + 2,
    )
    target = {decision.at_s: decision.target for decision in decisions}
    assert target[1_300.0] == target[1_199.0]
    assert target[2_699.0] <= load / 3.0 + 3.0
    assert target[2_699.0] >= load / 3.0
    downs = [decision for decision in changes(decisions) if decision.target < decision.previous]
    assert all(after.at_s - before.at_s >= 20.0 for before, after in pairwise(downs))
    assert fleet.most_waiting_s <= 3.0


def test_a_climb_is_met_before_it_is_there() -> None:
    """On a steady climb replicas are ordered a cold start ahead: with a start of two minutes nobody waits long."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=60, first_cold_start_s=120.0))
    _, decisions = drive(
        policy,
        lambda at_s: RATE * (3.0 + at_s / 200.0),
        3_000.0,
        rng=Random(3),
        replicas=5,
        cold_start_s=120.0,
        work=20.0,
    )
    for decision in decisions[1_200:]:
        metrics = decision.metrics
        assert metrics.waiting_work / RATE / metrics.ready <= 2.0
    assert decisions[-1].target <= 18.0 * 1.25


def test_a_step_is_no_trend() -> None:
    """In the minutes after a step the demand is what the step made it, and no more is expected of the next minute."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=100, first_work_per_s=RATE))
    _, decisions = drive(
        policy, lambda at_s: RATE * (2.0 if at_s < 600.0 else 6.0), 960.0, rng=Random(5), replicas=3, work=10.0
    )
    assert all(decision.signals["load_replicas"] <= 6.0 * 1.15 for decision in decisions[610:])


def test_to_zero_and_back() -> None:
    """With nothing to do the last replica goes; held requests bring the first one back at once."""
    targets = AutoscalingTargets(min_replicas=0, max_replicas=4, scale_to_zero_after_s=120.0)
    policy = Autoscaler(targets)
    _, decisions = drive(
        policy, lambda at_s: 0.0 if 300.0 <= at_s < 900.0 else 500.0, 1_200.0, rng=Random(1), work=50.0
    )
    target = {decision.at_s: decision.target for decision in decisions}
    assert target[400.0] >= 1
    assert target[450.0] == 0
    assert target[899.0] == 0
    assert target[903.0] >= 1
    assert all(value >= 1 for at_s, value in target.items() if at_s > 903.0)


def test_cold_starts_are_learned() -> None:
    """The look-ahead follows the starts that were measured, not the first guess."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=40, first_cold_start_s=10.0))
    _, decisions = drive(
        policy, lambda at_s: RATE * (1.0 if at_s < 300.0 else 6.0), 900.0, rng=Random(2), cold_start_s=200.0
    )
    assert decisions[100].signals["lead_s"] == 10.0
    assert decisions[-1].signals["lead_s"] == 200.0


@cache
def settled(load: float, seed: int = 7) -> tuple[Autoscaler, AutoscalerState, FluidFleet, float]:
    """A policy that has seen a constant load for twenty minutes."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=100))
    fleet, rng = FluidFleet(2, 60.0), Random(seed)
    state = policy.initial(2)
    for second in range(1_200):
        works = [rng.expovariate(1 / 50.0) for _ in range(int(load * RATE / 50.0))]
        state, _ = policy.decide(state, fleet.step(works, second, 1.0, state.target), float(second))
    return policy, state, fleet, 1_200.0


@given(less=st.floats(0.0, 200_000.0), more=st.floats(0.0, 200_000.0), load=st.sampled_from((0.5, 3.0, 8.0)))
@settings(max_examples=60, deadline=None)
def test_more_waiting_work_never_lowers_the_target(less: float, more: float, load: float) -> None:
    """Of two moments that differ in the work waiting, the one with more gets at least as many replicas."""
    policy, state, fleet, now_s = settled(load)
    base = deepcopy(fleet).step([], now_s, 1.0, state.target)
    targets = []
    for waiting in sorted((less, more)):
        metrics = FleetMetrics(
            **{
                **{name: getattr(base, name) for name in FleetMetrics.__slots__},
                "waiting_work": waiting,
                "waiting_requests": int(waiting / 100.0),
            }
        )
        targets.append(policy.decide(state, metrics, now_s)[1].target)
    assert targets[0] <= targets[1]


@given(loads=st.tuples(st.floats(0.3, 15.0), st.floats(0.3, 15.0)))
@settings(max_examples=10, deadline=None)
def test_a_higher_constant_load_never_gets_fewer_replicas(loads: tuple[float, float]) -> None:
    """Settled on two constant loads, the higher one has at least as many replicas, and both have enough."""
    low, high = sorted(loads)
    targets = [settled(load)[1].target for load in (low, high)]
    assert targets[0] <= targets[1]
    assert targets[0] >= low


@pytest.mark.parametrize("step_s", [0.5, 1.0, 5.0])
def test_it_does_not_matter_how_often_it_is_asked(step_s: float) -> None:
    """Asked every half second or every five, it settles on the same number."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=40))
    _, decisions = drive(policy, lambda _: 5.0 * RATE, 1_500.0, rng=Random(5), replicas=3, step_s=step_s, work=20.0)
    assert decisions[-1].target in {6, 7}


def test_a_plan_makes_the_first_step_right() -> None:
    """Told what a replica gets done, it orders what a step needs before it has ever seen a replica at its limit."""
    targets = AutoscalingTargets(min_replicas=1, max_replicas=60, first_work_per_s=RATE)
    _, decisions = drive(
        Autoscaler(targets), lambda at_s: RATE * (1.0 if at_s < 400.0 else 9.0), 420.0, rng=Random(4), work=10.0
    )
    at = {decision.at_s: decision.target for decision in decisions}
    assert at[399.0] <= 2
    assert at[403.0] >= 9


def test_wrong_plans_are_corrected() -> None:
    """A plan that is three times too hopeful costs waiting once; then the real rate is known."""
    targets = AutoscalingTargets(min_replicas=1, max_replicas=60, first_work_per_s=3.0 * RATE)
    _, decisions = drive(Autoscaler(targets), lambda _: 6.0 * RATE, 1_800.0, rng=Random(4), replicas=3)
    assert decisions[-1].signals["replica_work_per_s"] == pytest.approx(RATE, rel=0.15)
    assert decisions[-1].target >= 6


def test_an_order_under_way_is_not_repeated() -> None:
    """While ordered replicas start, the backlog they were ordered for orders no more of them."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=200, first_work_per_s=RATE))
    _, decisions = drive(
        policy, lambda at_s: RATE * (2.0 if at_s < 600.0 else 8.0), 720.0, rng=Random(8), replicas=3, work=10.0
    )
    at = {decision.at_s: decision.target for decision in decisions}
    assert at[719.0] <= at[612.0] + 2


def test_a_restarted_gateway_is_no_drop_in_demand() -> None:
    """Counters that fall back are taken as they are: no scale-down, no surge."""
    policy, state, fleet, now_s = settled(5.0)
    fleet = deepcopy(fleet)
    before = state.target
    fleet.offered = fleet.squared = fleet.dispatched = 0.0
    for second in range(120):
        works = [50.0] * 100
        metrics = fleet.step(works, now_s + second, 1.0, state.target)
        state, _ = policy.decide(state, metrics, now_s + second)
    assert state.target == before


def test_nonsense_targets_are_refused() -> None:
    """Bounds that make no range are told at once."""
    with pytest.raises(ValueError, match="no range"):
        AutoscalingTargets(min_replicas=3, max_replicas=2)
    with pytest.raises(ValueError, match="no range"):
        AutoscalingTargets(min_replicas=0, max_replicas=0)
    with pytest.raises(ValueError, match="headroom"):
        AutoscalingTargets(headroom=-inf)
