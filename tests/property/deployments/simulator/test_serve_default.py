"""The restated Ray Serve policy decides what Ray Serve's own code decides."""

from math import ceil, isclose
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, TimeStampedValue
from ray.serve._private.metrics_utils import time_weighted_average
from ray.serve.autoscaling_policy import (
    _apply_delay_logic,
    _apply_scaling_factors,
    _core_replica_queue_length_policy,
    _get_cold_start_scale_up_replicas,
)
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from cluster.autoscaling.metrics.metrics import FleetMetrics
from deployments.simulator.serve_default import (
    DelayState,
    ServeDefault,
    ServeSettings,
    desired_replicas,
    mean_over_time,
)

SETTINGS = st.builds(
    ServeSettings,
    min_replicas=st.integers(0, 2),
    max_replicas=st.integers(2, 30),
    target_ongoing_requests=st.sampled_from((0.5, 2.0, 7.3)),
    upscale_delay_s=st.sampled_from((0.0, 30.0)),
    downscale_delay_s=st.sampled_from((0.0, 600.0)),
    downscale_to_zero_delay_s=st.sampled_from((None, 60.0)),
    upscaling_factor=st.sampled_from((0.3, 1.0, 2.0)),
    downscaling_factor=st.sampled_from((0.3, 1.0)),
)
TICKS = st.lists(st.tuples(st.floats(0.0, 300.0), st.floats(0.0, 60.0), st.integers(0, 12)), min_size=1, max_size=30)


def rays_config(ours: ServeSettings) -> AutoscalingConfig:
    """Ray's configuration of the same settings."""
    return AutoscalingConfig(
        min_replicas=ours.min_replicas,
        max_replicas=ours.max_replicas,
        target_ongoing_requests=ours.target_ongoing_requests,
        upscale_delay_s=ours.upscale_delay_s,
        downscale_delay_s=ours.downscale_delay_s,
        downscale_to_zero_delay_s=ours.downscale_to_zero_delay_s,
        upscaling_factor=ours.upscaling_factor,
        downscaling_factor=ours.downscaling_factor,
    )


def rays_decision(  # noqa: PLR0913, PLR0917 - what Ray's functions take together
    config: AutoscalingConfig, ongoing: float, running: int, target: int, state: dict[str, Any], now_s: float
) -> int:
    """What Ray's functions decide, called as its own `_apply_autoscaling_config` calls them, at a given time."""
    context = AutoscalingContext(
        deployment_id=DeploymentID(name="model"),
        deployment_name="model",
        app_name=None,
        current_num_replicas=running,
        target_num_replicas=target,
        running_replicas=[],
        total_num_requests=ongoing,
        total_queued_requests=None,
        aggregated_metrics=None,
        raw_metrics=None,
        capacity_adjusted_min_replicas=config.min_replicas,
        capacity_adjusted_max_replicas=config.max_replicas,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now_s,
        config=config,
    )
    cold = _get_cold_start_scale_up_replicas(context)
    if cold is not None:
        return int(cold)
    desired, _ = _core_replica_queue_length_policy(context)
    scaled = _apply_scaling_factors(desired, running, config)
    if running == 0 and scaled > 0:
        return int(scaled)
    decided, kept = _apply_delay_logic(max(0, scaled), target, config, state, _now=now_s)
    state.update(kept)
    return int(decided)


@given(ours=SETTINGS, ticks=TICKS)
@settings(max_examples=200, deadline=None)
def test_decisions_are_rays(ours: ServeSettings, ticks: list[tuple[float, float, int]]) -> None:
    """Over any run of loads, running replicas and pauses, every decision is the one Ray makes."""
    config = rays_config(ours)
    state: dict[str, Any] = {}
    delay, now_s = DelayState(), 1_000.0
    target = theirs = max(1, ours.min_replicas)
    for ongoing, passed_s, running in ticks:
        now_s += passed_s
        theirs = rays_decision(config, ongoing, running, target, state, now_s)
        decided, delay = desired_replicas(ours, ongoing, running, target, delay, now_s)
        assert decided == theirs
        target = max(ours.min_replicas, min(ours.max_replicas, decided))


@given(
    records=st.lists(st.tuples(st.floats(0.05, 10.0), st.integers(0, 500)), min_size=1, max_size=12),
    after_s=st.floats(0.01, 20.0),
)
def test_the_mean_over_time_is_rays(records: list[tuple[float, int]], after_s: float) -> None:
    """The mean of what was recorded is the time-weighted one that Ray's controller computes."""
    at_s, series = 0.0, []
    for passed_s, value in records:
        at_s += passed_s
        series.append((at_s, value))
    theirs = time_weighted_average([TimeStampedValue(at, float(value)) for at, value in series], None, None, after_s)
    assert theirs is not None
    assert isclose(mean_over_time(tuple(series), at_s + after_s), theirs, rel_tol=1e-6, abs_tol=1e-6)


def test_defaults_are_rays() -> None:
    """The settings that are not given are those of Ray's own configuration."""
    ours, theirs = ServeSettings(), AutoscalingConfig()
    assert ours.target_ongoing_requests == theirs.target_ongoing_requests == 2
    assert ours.upscale_delay_s == theirs.upscale_delay_s
    assert ours.downscale_delay_s == theirs.downscale_delay_s
    assert ours.downscale_to_zero_delay_s == theirs.downscale_to_zero_delay_s
    assert ours.look_back_s == theirs.look_back_period_s
    assert ours.upscaling_factor == theirs.get_upscaling_factor()
    assert ours.downscaling_factor == theirs.get_downscaling_factor()


def test_a_step_is_seen_late_and_a_lull_later() -> None:
    """From 4 to 40 ongoing requests it takes 30 to 50 s until more replicas are asked for, and ten minutes back."""
    policy = ServeDefault(ServeSettings(min_replicas=1, max_replicas=50))
    state, targets = policy.initial(2), {}
    for second in range(2_000):
        ongoing = 40 if 300 <= second < 900 else 4
        metrics = FleetMetrics(ready=state.target, in_flight=ongoing)
        state, decision = policy.decide(state, metrics, float(second))
        targets[second] = decision.target
    assert targets[329] == 2
    assert targets[350] > 2
    assert targets[899] == ceil(40 / 2)
    assert targets[1_490] == 20
    assert targets[1_560] < 20


def test_the_first_replica_is_started_at_once() -> None:
    """With no replica, one waiting request is enough, without any delay."""
    policy = ServeDefault(ServeSettings(min_replicas=0, max_replicas=5))
    state = policy.initial(0)
    state, _ = policy.decide(state, FleetMetrics(ready=0), 0.0)
    state, decision = policy.decide(state, FleetMetrics(ready=0, waiting_requests=3), 1.0)
    assert decision.target == 1
