"""The headroom that follows the share of requests in time."""

import pytest

from cluster.autoscaling.autoscaler import MOST_HEADROOM, Autoscaler
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.slo_headroom import LEAST, InTime, aimed_share
from cluster.autoscaling.targets import AutoscalingTargets

SHARE = 0.95


def _seen(met_share: float, seconds: int) -> InTime:
    """Return what is known after so many seconds of ten requests each."""
    in_time = InTime()
    for second in range(1, seconds + 1):
        metrics = FleetMetrics(1, slo_requests=10.0 * second, slo_met=10.0 * second * met_share)
        in_time = in_time.observe(metrics, 1.0)
    return in_time


def _after(in_time: InTime, seconds: int) -> float:
    headroom = 0.4
    for _ in range(seconds):
        headroom = in_time.headroom(headroom, 0.4, MOST_HEADROOM * 0.4, SHARE, 1.0)
    return headroom


def test_it_rises_while_too_few_are_in_time_and_falls_while_more_are() -> None:
    """At the share aimed at it stays; both ways it is bounded; before requests have told, it is the operator's."""
    assert _after(_seen(0.90, 3_600), 600) > 0.45
    assert _after(_seen(1.0, 3_600), 600) < 0.35
    assert _after(_seen(aimed_share(SHARE), 3_600), 600) == pytest.approx(0.4, rel=0.02)
    assert _after(_seen(0.5, 3_600), 100_000) == MOST_HEADROOM * 0.4
    assert _after(_seen(1.0, 3_600), 100_000) == pytest.approx(LEAST * 0.4)
    assert _after(_seen(0.5, 1), 600) == 0.4


def test_a_share_that_falls_short_asks_for_a_replica_though_no_queue_does() -> None:
    """Tokens may be slow without a queue: the last minute's share says so, once the fleet has come to rest."""
    told = FleetMetrics(2, in_flight=20, utilisation=0.4, offered_requests=0)
    for share in (0.0, SHARE):
        policy = Autoscaler(AutoscalingTargets(1, 10, slo_share=share, scale_down_after_s=1e6))
        state = policy.initial(2)
        reasons = set()
        for second in range(1, 400):
            metrics = FleetMetrics(
                told.ready, in_flight=20, utilisation=0.4, slo_requests=5.0 * second, slo_met=4.0 * second
            )
            state, decision = policy.decide(state, metrics, float(second))
            reasons |= set(decision.reasons)
        assert (state.target > 2) == bool(share)
        assert any("80% of the requests are in time, 95% should be" in reason for reason in reasons) == bool(share)


def test_a_gateway_that_begins_anew_is_no_miss() -> None:
    """A counter that fell adds nothing."""
    in_time = _seen(1.0, 600).observe(FleetMetrics(1, slo_requests=3.0, slo_met=3.0), 1.0)
    assert in_time.long.mean == pytest.approx(1.0)
    assert in_time.requests == 3.0


def _targets_after(offered_per_s: list[float]) -> list[int]:
    """Return the targets second by second while three of ten requests are late, and so much work comes."""
    policy = Autoscaler(AutoscalingTargets(1, 1_000, slo_share=SHARE, first_work_per_s=100.0, scale_down_after_s=1e6))
    state, offered, targets = policy.initial(8), 0.0, []
    for second, per_s in enumerate(offered_per_s, start=1):
        offered += per_s
        metrics = FleetMetrics(
            state.target,
            in_flight=20,
            utilisation=0.4,
            offered_work=offered,
            offered_work_squared=offered,
            slo_requests=10.0 * second,
            slo_met=7.0 * second,
        )
        state, _ = policy.decide(state, metrics, float(second))
        targets.append(state.target)
    return targets


def test_late_requests_of_a_burst_order_nothing_once_it_is_over() -> None:
    """They tell of it for a minute after its end: then replicas for it would come when nobody needs them."""
    steady = [500.0] * 400
    assert max(_targets_after(steady)) > 8
    fallen = _targets_after([*[500.0] * 100, *[250.0] * 100])
    assert fallen[-1] == fallen[130]


def test_a_minute_out_of_time_moves_the_headroom_as_far_as_its_share_says() -> None:
    """Replicas ordered for late requests do not make the headroom theirs: the share in time moves it, and only it."""
    policy = Autoscaler(AutoscalingTargets(1, 10, slo_share=SHARE, first_work_per_s=100.0, scale_down_after_s=1e6))
    state, alone = policy.initial(2), InTime()
    headroom = 0.4
    for second in range(1, 400):
        metrics = FleetMetrics(
            state.target,
            in_flight=20,
            utilisation=0.4,
            offered_work=100.0 * second,
            offered_work_squared=100.0 * second,
            slo_requests=5.0 * second,
            slo_met=4.0 * second,
        )
        alone = alone.observe(metrics, 1.0 if second > 1 else 0.0)
        if second > 1:
            headroom = alone.headroom(headroom, 0.4, MOST_HEADROOM * 0.4, SHARE, 1.0)
        state, _ = policy.decide(state, metrics, float(second))
    assert state.target > 2
    assert state.headroom == pytest.approx(headroom)
