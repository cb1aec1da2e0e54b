"""Ray Serve 2.60's default autoscaling, rewritten as a pure policy to compare with.

Written after `ray/serve/autoscaling_policy.py` (`replica_queue_length_autoscaling_policy`, `_apply_scaling_factors`,
`_apply_delay_logic`) and, for its inputs, `ray/serve/_private/router.py` and `autoscaling_state.py`. The ongoing
requests (queued and running) are recorded every `look_back_s / 5` seconds. Every 10 s all records within the look-back
are pushed. The policy takes their mean over time, from the first record until now. With no replica, a waiting request
starts the first one at once. `tests/property/deployments/simulator/test_serve_default.py` compares this with Ray's
code.
"""

from dataclasses import dataclass, replace
from math import ceil

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics.metrics import FleetMetrics

RECORDS_PER_LOOK_BACK = 5
"""Records in one look-back period: 1 / `RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR`."""
_ELAPSED_SLACK_S = 1e-6


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Ray Serve's `AutoscalingConfig`, with its defaults.

    Attributes:
        min_replicas: fewest replicas.
        max_replicas: most replicas.
        target_ongoing_requests: requests queued and running for each replica.
        upscale_delay_s: seconds that more replicas must be wanted before the target rises.
        downscale_delay_s: seconds that fewer replicas must be wanted before the target falls.
        downscale_to_zero_delay_s: seconds of the same for the last replica; None: `downscale_delay_s`.
        upscaling_factor: factor on the number of missing replicas.
        downscaling_factor: factor on the number of surplus replicas.
        look_back_s: Ray's `look_back_period_s`, seconds.
        push_interval_s: Ray's `RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S`, seconds.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_ongoing_requests: float = 2.0
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    downscale_to_zero_delay_s: float | None = None
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    look_back_s: float = 30.0
    push_interval_s: float = 10.0


@dataclass(frozen=True, slots=True)
class DelayState:
    """Ray's policy state: for how long another number of replicas has been wanted.

    Attributes:
        direction: above 0 while more replicas are wanted, below 0 while fewer are, 0 while neither.
        since_s: since when, monotonic seconds; None while neither.
    """

    direction: int = 0
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServeState:
    """State of the policy.

    Attributes:
        target: replicas asked for.
        delay: for how long another number has been wanted.
        records: pairs of a time and the ongoing requests then, within the look-back.
        pushed: the records as of the last push.
        pushed_s: time of the last push, monotonic seconds; None: never.
    """

    target: int
    delay: DelayState = DelayState()
    records: tuple[tuple[float, int], ...] = ()
    pushed: tuple[tuple[float, int], ...] = ()
    pushed_s: float | None = None


class ServeDefault:
    """Ray Serve's default policy; the module describes it.

    Args:
        settings: Ray Serve's settings.
    """

    name = "serve_default"

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings

    def initial(self, replicas: int) -> ServeState:
        """Return the first state of a model with `replicas` replicas."""
        return ServeState(replicas)

    def decide(self, state: ServeState, metrics: FleetMetrics, now_s: float) -> tuple[ServeState, ScalingDecision]:
        """Return the next state and the decision; call about every half second.

        Args:
            state: the state that the last call returned.
            metrics: the latest metrics.
            now_s: the time, monotonic seconds.
        """
        settings = self.settings
        state = self._record(state, metrics, now_s)
        ongoing = mean_over_time(state.pushed, now_s)
        previous = state.target
        desired, delay = desired_replicas(settings, ongoing, metrics.ready, previous, state.delay, now_s)
        target = max(settings.min_replicas, min(settings.max_replicas, desired))
        state = replace(state, target=target, delay=delay)
        reason = f"{ongoing:.1f} ongoing requests on {metrics.ready} replicas"
        return state, ScalingDecision(now_s, target, previous, (reason,), metrics, {"ongoing_requests": ongoing})

    def _record(self, state: ServeState, metrics: FleetMetrics, now_s: float) -> ServeState:
        settings = self.settings
        records = state.records
        if not records or now_s - records[-1][0] >= settings.look_back_s / RECORDS_PER_LOOK_BACK - _ELAPSED_SLACK_S:
            records = (*records, (now_s, metrics.ongoing_requests))
        # Ray pushes at once where requests wait for a deployment without replicas.
        is_cold = not metrics.ready and metrics.waiting_requests > 0 and not any(count for _, count in state.pushed)
        if is_cold:
            records = (*records[:-1], (now_s, metrics.ongoing_requests))
        if is_cold or state.pushed_s is None or now_s - state.pushed_s >= settings.push_interval_s - _ELAPSED_SLACK_S:
            records = tuple(record for record in records if record[0] >= now_s - settings.look_back_s)
            return replace(state, records=records, pushed=records, pushed_s=now_s)
        return replace(state, records=records)


def mean_over_time(records: tuple[tuple[float, int], ...], now_s: float) -> float:
    """Return the mean over time of a step function, from its first record until `now_s`; 0 if there is none.

    Args:
        records: pairs of a time and the value from then on, oldest first.
        now_s: the time, monotonic seconds.
    """
    if not records:
        return 0.0
    ends_s = [*(at_s for at_s, _ in records[1:]), max(now_s, records[-1][0] + 1e-3)]
    area = sum(value * (end_s - at_s) for (at_s, value), end_s in zip(records, ends_s, strict=True))
    return area / (ends_s[-1] - records[0][0])


def desired_replicas(  # noqa: PLR0913, PLR0917 - what Ray's functions take together
    settings: ServeSettings, ongoing: float, running: int, target: int, delay: DelayState, now_s: float
) -> tuple[int, DelayState]:
    """Return the replicas that Ray Serve's default policy wants, before its bounds, and the next state of its delays.

    Args:
        settings: Ray Serve's settings.
        ongoing: mean number of ongoing requests.
        running: replicas that are running.
        target: replicas asked for so far.
        delay: state of the delays.
        now_s: the time, monotonic seconds.
    """
    if running == 0 and ongoing > 0:
        return max(ceil(settings.upscaling_factor), target), delay
    wanted = float(target) if running == 0 else ongoing / settings.target_ongoing_requests
    desired = _scaled(settings, wanted, running)
    if running == 0 and desired > 0:
        return desired, delay
    return _delayed(settings, max(0, desired), target, delay, now_s)


def _scaled(settings: ServeSettings, wanted: float, running: int) -> int:
    if running == 0:
        return ceil(wanted)
    factor = settings.upscaling_factor if wanted > running else settings.downscaling_factor
    scaled = ceil(running + factor * (wanted - running))
    return scaled - 1 if ceil(wanted) < running and scaled == running else scaled


def _delayed(
    settings: ServeSettings, desired: int, target: int, delay: DelayState, now_s: float
) -> tuple[int, DelayState]:
    if desired == target:
        return target, DelayState()
    direction = 1 if desired > target else -1
    since_s = delay.since_s if delay.direction * direction > 0 and delay.since_s is not None else now_s
    if direction > 0:
        wait_s = settings.upscale_delay_s
    elif target == 1:
        to_zero_s = settings.downscale_to_zero_delay_s
        wait_s = settings.downscale_delay_s if to_zero_s is None else to_zero_s
    else:
        wait_s = settings.downscale_delay_s
        desired = max(1, desired)
    if now_s - since_s + _ELAPSED_SLACK_S >= wait_s:
        return desired, DelayState()
    return target, DelayState(direction, since_s)
