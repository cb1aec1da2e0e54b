"""The autoscaler's parts, and the fleet it is tried on in virtual time."""

import json
from dataclasses import replace
from random import Random

import pytest

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.cold_start import ColdStart
from cluster.autoscaling.decision import DecisionHistory, ScalingDecision
from cluster.autoscaling.demand import Demand
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.replica_rate import ReplicaRate
from cluster.autoscaling.staffing import replicas_for
from cluster.autoscaling.targets import AutoscalingTargets
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.simulator.autoscaled_fleet import FleetSettings, run_fleet
from deployments.simulator.fixed_fleet import FixedFleet
from deployments.simulator.loads import SimRequest, Sizes, poisson
from router.flow_control.limits import AdmissionLimits

SIZES = Sizes(1_000.0, 100.0)
SETTINGS = FleetSettings(engine=SimSpec(prefill_tokens_per_s=8_000.0), cold_start_s=30.0)


# --- the parts


def observed(demand: Demand, per_s: float, from_s: float, until_s: float, rng: Random) -> Demand:
    """Let exponential requests of mean work 10 come at `per_s` work a second, looked at each second."""
    work, squared = demand.counters
    second = from_s
    while second < until_s:
        left = rng.expovariate(1.0)
        while left < per_s / 10.0:
            size = rng.expovariate(0.1)
            work, squared = work + size, squared + size * size
            left += rng.expovariate(1.0)
        second += 1.0
        demand = demand.observe(work, squared, second)
    return demand


def test_demand_rests_on_minutes_when_steady_and_on_seconds_after_a_step() -> None:
    """The window is the longest there is under a constant load, short after a step, and then grows with it."""
    rng = Random(3)
    steady = observed(Demand(), 500.0, 0.0, 600.0, rng)
    rate, over_s = steady.work_per_s()
    assert over_s >= 300.0
    assert rate == pytest.approx(500.0, rel=0.05)
    stepped = observed(steady, 2_500.0, 600.0, 603.0, rng)
    rate, over_s = stepped.work_per_s()
    assert over_s <= 5.0
    assert rate >= 1_500.0
    later = observed(stepped, 2_500.0, 603.0, 690.0, rng)
    rate, over_s = later.work_per_s()
    assert 40.0 <= over_s <= 90.0
    assert rate == pytest.approx(2_500.0, rel=0.1)
    assert later.climb_per_s2() == 0.0
    assert len(later.samples) <= 325


def test_one_large_request_is_no_step() -> None:
    """A request a hundred times the others' size does not make the last seconds' rate the demand."""
    demand = observed(Demand(), 50.0, 0.0, 400.0, Random(1))
    work, squared = demand.counters
    demand = demand.observe(work + 1_000.0, squared + 1_000_000.0, 401.0)
    assert demand.work_per_s()[0] <= 60.0


def test_rough_traffic_is_told_from_even_traffic() -> None:
    """Independent requests have a roughness of about 1; the same with a rate that jitters every ten seconds, more."""
    rng = Random(5)
    even = observed(Demand(), 500.0, 0.0, 400.0, rng)
    rough = Demand()
    for step in range(40):
        rough = observed(rough, 500.0 * rng.choice((0.5, 1.5)), step * 10.0, step * 10.0 + 10.0, rng)
    assert even.roughness() < 2.0
    assert rough.roughness() > 4.0


@pytest.mark.parametrize(
    ("load", "headroom", "expected"),
    [(0.0, 0.5, 0), (0.2, 0.5, 1), (1.0, 0.5, 2), (4.0, 0.5, 5), (9.0, 0.5, 11), (100.0, 0.5, 106), (9.5, 0.0, 10)],
)
def test_staffing_is_load_and_its_root(load: float, headroom: float, expected: int) -> None:
    """The square-root rule, and never above 95 % busy."""
    assert replicas_for(load, headroom) == expected


def test_cold_starts_are_expected_to_take_as_long_as_three_of_four_did() -> None:
    """One slow start among quick ones does not count, and only the last sixteen do."""
    cold = ColdStart()
    assert cold.expected_s(60.0) == 60.0
    cold = cold.observe((40.0, 42.0, 44.0, 300.0))
    assert cold.expected_s(60.0) == 44.0
    cold = cold.observe(tuple([20.0] * 16))
    assert cold.expected_s(60.0) == 20.0


def test_a_believed_rate_gives_way_to_evidence() -> None:
    """A plan's rate holds until replicas have been at their limit for some minutes."""
    rate = ReplicaRate.believed(1_000.0)
    assert rate.per_s == 1_000.0
    for _ in range(600):
        rate = rate.observe(400.0, 1.0)
    assert rate.per_s == pytest.approx(400.0, rel=0.1)
    assert ReplicaRate.believed(0.0).per_s == 0.0
    assert ReplicaRate().observe(400.0, 1.0).per_s == 0.0


def test_history_keeps_changes_and_folds_what_stays() -> None:
    """A thousand decisions that leave the target alone take one place; every change keeps its own, up to the bound."""
    history = DecisionHistory(places=10)
    metrics = FleetMetrics(ready=1)
    for second in range(1_000):
        history.add(ScalingDecision(float(second), 2, 2, ("as needed",), metrics))
    history.add(ScalingDecision(1_000.0, 5, 2, ("more",), metrics, {"queue_s": 3.0}))
    history.add(ScalingDecision(1_001.0, 5, 5, ("as needed",), metrics))
    rows = history.rows()
    assert [(row["previous"], row["target"], row["decisions"]) for row in rows] == [(5, 5, 1), (2, 5, 1), (2, 2, 1_000)]
    assert rows[1]["reasons"] == ["more"]
    assert rows[1]["signals"] == {"queue_s": 3.0}
    assert rows[2]["until_s"] == 999.0
    assert json.loads(json.dumps(rows)) == rows
    for second in range(100):
        history.add(ScalingDecision(2_000.0 + second, second + 1, second, ("more",), metrics))
    assert len(history) == 10


# --- the fleet


def test_no_request_is_lost_while_replicas_come_and_go() -> None:
    """Through a rise and a fall of the load every request is answered; replicas that go finish what they have."""
    load = poisson(lambda at_s: 12.0 if 300.0 <= at_s < 700.0 else 2.0, 12.0, 1_800.0, SIZES, Random(1))
    policy = Autoscaler(AutoscalingTargets(min_replicas=1, max_replicas=10, first_cold_start_s=30.0))
    result = run_fleet(load, policy, SETTINGS)
    assert len(result.ttfts_s) == len(load)
    assert not result.refused
    counts = [moment.ready for moment in result.timeline]
    assert max(counts) >= 2
    assert counts[-1] < max(counts)


def test_a_model_at_zero_holds_its_requests_and_answers_them() -> None:
    """After a pause in which the last replica went, requests wait for the first one's start and are answered."""
    policy = Autoscaler(AutoscalingTargets(min_replicas=0, max_replicas=4, scale_to_zero_after_s=120.0))
    load = [SimRequest(1.0, 100, 10), *(SimRequest(600.0 + number, 100, 10) for number in range(5))]
    settings = replace(SETTINGS, limits=AdmissionLimits(max_wait_s=5.0, cold_start_timeout_s=100.0))
    result = run_fleet(load, policy, settings)
    assert len(result.ttfts_s) == 6
    assert 0 in [moment.ready for moment in result.timeline]
    held = sorted(result.ttfts_s)[1:]
    assert all(25.0 <= ttft_s <= 33.0 for ttft_s in held)


def test_a_replica_that_still_has_to_go_brings_no_other_back() -> None:
    """Serve obeys a target of 0 only after a while, in which the last replica is ready; what was asked once is over."""
    policy = Autoscaler(
        AutoscalingTargets(
            min_replicas=0, max_replicas=2, scale_to_zero_after_s=3.0, scale_down_after_s=3.0, first_work_per_s=1_000.0
        )
    )
    idle = FleetMetrics(ready=0, starting=0, waiting_requests=0, waiting_work=0.0)
    offered = replace(idle, offered_requests=3, offered_work=150.0, offered_work_squared=7_500.0)
    held = replace(offered, waiting_requests=3, waiting_work=150.0)
    served = replace(offered, ready=1, dispatched_work=150.0)
    state, targets = policy.initial(0), []
    for step, metrics in enumerate([idle, idle, held, *[served] * 20]):
        state, decision = policy.decide(state, metrics, step / 2)
        targets.append(decision.target)
    assert targets[:3] == [0, 0, 1]
    assert targets[2:] == sorted(targets[2:], reverse=True)
    assert targets[-1] == 0
    again = replace(offered, offered_requests=4, offered_work=200.0, waiting_requests=1, waiting_work=50.0)
    assert policy.decide(state, again, 12.0)[1].target == 1


def test_runs_repeat_to_the_digit_and_gpu_hours_are_counted_from_order_to_end() -> None:
    """Two runs of one load are the same; a fixed fleet costs its size times the time it ran."""
    load = poisson(lambda _: 4.0, 4.0, 300.0, SIZES, Random(2))
    runs = [run_fleet(load, FixedFleet(3), replace(SETTINGS, first_replicas=3)) for _ in range(2)]
    assert runs[0].ttfts_s == runs[1].ttfts_s
    end_s = runs[0].gpu_hours * 3_600.0 / 3
    assert 300.0 <= end_s <= 330.0
    assert runs[0].slo_share(1e9) == 1.0
    assert runs[0].ttft_quantile_s(0.5) <= runs[0].ttft_quantile_s(0.99)
