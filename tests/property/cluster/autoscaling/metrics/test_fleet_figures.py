"""What gateways and replicas tell becomes one model's metrics: nothing counted twice, nothing lost, noise not added."""

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.autoscaling.metrics.fleet_figures import FORGET_S, LATE_S, LONGEST_START_S, REPLICA_FORGET_S, FleetFigures
from cluster.autoscaling.model_autoscaler import ModelAutoscaler
from cluster.autoscaling.targets import AutoscalingTargets

PUSH_S = 0.5


def offered(work: float, **more: float) -> GatewayFigures:
    """A gateway that has been offered so much work."""
    return GatewayFigures(offered_requests=int(work), offered_work=work, offered_work_squared=work, **more)  # type: ignore[arg-type]


@given(
    rates=st.lists(st.floats(0.0, 500.0), min_size=1, max_size=5),
    skews=st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_gateways_that_tell_at_different_moments_add_no_noise(
    rates: list[float], skews: list[float], seed: int
) -> None:
    """A steady load on several gateways, whose clocks differ and whose reports take their time, looks steady.

    Between any two metrics the offered work is the rates' sum times the time, to the reports' delay of 20 ms.
    """
    rng = Random(seed)
    fleet = FleetFigures()
    events = sorted(
        (step * PUSH_S + rng.uniform(0.0, 0.01) + number * 0.09, number)
        for step in range(40)
        for number in range(len(rates))
    )
    seen: list[tuple[float, float]] = []
    for sent_s, number in events:
        now_s = sent_s + rng.uniform(0.0, 0.02)
        fleet.hear_gateway(f"g{number}", offered(rates[number] * sent_s), sent_s + skews[number], now_s)
        fleet.check_integrity()
        as_of_s = fleet.as_of_s(now_s)
        if as_of_s is not None and sent_s > 2.0:
            seen.append((as_of_s, fleet.metrics(1, as_of_s).offered_work))
    assert len(seen) > 20
    total = sum(rates)
    for (before_s, before), (after_s, after) in pairwise(seen):
        assert after >= before - 1e-6
        assert abs((after - before) - total * (after_s - before_s)) <= total * 0.045 + 1e-6


@given(lives=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20), st.floats(0.0, 100.0)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_gateways_that_come_and_go_take_nothing_back(lives: list[tuple[int, int, float]]) -> None:
    """Offered work never falls when a gateway ends, and all it told of stays counted."""
    fleet = FleetFigures()
    last, expected = 0.0, sum(rate * (steps - 1) * PUSH_S for _, steps, rate in lives)
    for step in range(60):
        now_s = step * PUSH_S
        for number, (begin, steps, rate) in enumerate(lives):
            if begin <= step < begin + steps:
                fleet.hear_gateway(f"g{number}", offered(1e6 + rate * (step - begin) * PUSH_S), now_s, now_s)
        fleet.check_integrity()
        as_of_s = fleet.as_of_s(now_s)
        if as_of_s is not None:
            metrics = fleet.metrics(1, as_of_s)
            assert metrics.offered_work >= last - 1e-6
            last = metrics.offered_work
    fleet.hear_gateway("last", offered(0.0), 100.0, 100.0)
    as_of_s = fleet.as_of_s(100.0)
    assert as_of_s is not None
    assert abs(fleet.metrics(1, as_of_s).offered_work - expected) <= 1e-6 * (1.0 + expected)


def test_a_silent_gateway_holds_up_nobody_and_is_forgotten() -> None:
    """For a moment its word is waited for; then the others' counts; then what waited there is gone with it."""
    fleet = FleetFigures()
    for step in range(20):
        now_s = step * PUSH_S
        fleet.hear_gateway("here", offered(10.0 * step, waiting_requests=1), now_s, now_s)
        if step < 4:
            fleet.hear_gateway("gone", offered(5.0 * step, waiting_requests=7), now_s, now_s)
        as_of_s = fleet.as_of_s(now_s)
        silent_s = now_s - 3 * PUSH_S
        if 0 < silent_s <= LATE_S:
            assert as_of_s is None
        else:
            assert as_of_s == now_s
            assert fleet.metrics(1, now_s).waiting_requests == (8 if silent_s <= FORGET_S else 1)


def test_starts_are_told_once_from_their_order_on() -> None:
    """A replica's start is the time from its order; one nobody ordered counts by its own; none is told twice."""
    fleet = FleetFigures()

    def starts(now_s: float) -> tuple[float, ...]:
        fleet.hear_gateway("g", offered(now_s), now_s, now_s)
        as_of_s = fleet.as_of_s(now_s)
        assert as_of_s is not None
        return fleet.metrics(2, as_of_s).start_durations_s

    fleet.ordered(3, 10.0)
    fleet.ordered(-1, 11.0)  # the third is not wanted any more
    fleet.hear_replica("a", ReplicaFigures(start_s=20.0), 40.0)
    assert starts(40.0) == (30.0,)
    fleet.hear_replica("a", ReplicaFigures(start_s=20.0), 41.0)
    assert starts(41.0) == ()
    fleet.hear_replica("b", ReplicaFigures(start_s=20.0), 50.0)
    fleet.hear_replica("c", ReplicaFigures(start_s=25.0), 50.0)
    assert starts(50.0) == (40.0, 25.0)
    fleet.hear_replica("a", ReplicaFigures(start_s=20.0), 50.0 + 2 * REPLICA_FORGET_S)  # it had been silent
    assert starts(61.0) == ()
    fleet.ordered(1, 100.0)  # its machine comes an hour later
    fleet.hear_replica("d", ReplicaFigures(start_s=30.0), 100.0 + 2 * LONGEST_START_S)
    assert starts(100.0 + 2 * LONGEST_START_S) == (30.0,)


def test_who_is_ready_and_what_that_means_for_the_fleet() -> None:
    """Replicas that tell are ready, those missing are starting, one that left or fell silent is neither."""
    fleet = FleetFigures()
    fleet.hear_gateway("g", offered(0.0), 0.0, 0.0)
    busy = ReplicaFigures(in_flight=4, waiting_tokens=900, prefill_tokens_per_s=100.0, kv_usage=0.8)
    fleet.hear_replica("busy", busy, 0.0)
    fleet.hear_replica("idle", ReplicaFigures(in_flight=1, prefill_tokens_per_s=100.0), 0.0)
    metrics = fleet.metrics(3, 0.0)
    assert (metrics.ready, metrics.starting, metrics.in_flight) == (2, 1, 5)
    assert (metrics.engine_waiting_work, metrics.engine_wait_s, metrics.utilisation) == (900.0, 0.0, 0.4)
    fleet.replica_left("idle")
    fleet.hear_gateway("g", offered(0.0), 1.0, 1.0)
    metrics = fleet.metrics(3, 1.0)
    assert (metrics.ready, metrics.starting, metrics.engine_wait_s) == (1, 2, 9.0)
    fleet.hear_gateway("g", offered(0.0), 9.0, 9.0)
    assert fleet.as_of_s(9.0) == 9.0
    assert fleet.metrics(3, 9.0).ready == 0


def test_no_news_no_decision() -> None:
    """Without gateways that tell, the target stays: blindness is no reason to take replicas away."""
    autoscaler = ModelAutoscaler(
        Autoscaler(AutoscalingTargets(min_replicas=0, max_replicas=5, scale_to_zero_after_s=5.0)), 3
    )
    assert autoscaler.decide(0.0) is None
    for step in range(3):
        autoscaler.figures.hear_gateway("g", offered(0.0), step * 0.5, step * 0.5)
        assert autoscaler.decide(step * 0.5) is not None
    for second in range(2, 100):
        assert autoscaler.decide(float(second)) is None
    assert autoscaler.target == 3
    assert len(autoscaler.history) >= 1
    autoscaler.check_integrity()


def test_held_requests_bring_the_first_replica() -> None:
    """From zero: a held request raises the target at its gateway's next word, and the start is learned."""
    autoscaler = ModelAutoscaler(Autoscaler(AutoscalingTargets(min_replicas=0, max_replicas=5)), 0)
    for step in range(10):
        autoscaler.figures.hear_gateway("g", offered(0.0), step * 0.5, step * 0.5)
        autoscaler.decide(step * 0.5)
    assert autoscaler.target == 0
    autoscaler.figures.hear_gateway("g", offered(1.0, waiting_requests=1, waiting_work=300.0), 5.0, 5.0)
    decision = autoscaler.decide(5.0)
    assert decision is not None
    assert (decision.previous, decision.target) == (0, 1)
    assert "held" in decision.reasons[0]
    autoscaler.figures.hear_replica("r", ReplicaFigures(start_s=3.0), 9.0)
    autoscaler.figures.hear_gateway("g", offered(1.0), 9.1, 9.1)
    decision = autoscaler.decide(9.1)
    assert decision is not None
    assert decision.metrics.start_durations_s == (4.0,)
    assert decision.signals["lead_s"] == 4.0
    autoscaler.set_policy(Autoscaler(AutoscalingTargets(min_replicas=3, max_replicas=5)))
    autoscaler.figures.hear_gateway("g", offered(1.0), 9.6, 9.6)
    autoscaler.decide(9.6)
    assert autoscaler.target == 3


def test_replicas_that_never_come_are_given_up() -> None:
    """Where the cluster has no room for what was ordered, the order is taken back once the load is gone."""
    targets = AutoscalingTargets(min_replicas=1, max_replicas=8, first_work_per_s=100.0, first_cold_start_s=5.0)
    autoscaler = ModelAutoscaler(Autoscaler(targets), 1)
    work = 0.0
    for step in range(3_000):
        now_s = step * PUSH_S
        work += 200.0 if step < 240 else 5.0
        autoscaler.figures.hear_replica("only", ReplicaFigures(in_flight=1, prefill_tokens_per_s=100.0), now_s)
        figures = GatewayFigures(
            offered_requests=step, offered_work=work, offered_work_squared=work, dispatched_work=work
        )
        autoscaler.figures.hear_gateway("g", figures, now_s, now_s)
        autoscaler.decide(now_s)
        if step == 239:
            assert autoscaler.target >= 4
    assert autoscaler.target == 1
