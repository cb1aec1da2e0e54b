"""RackServe's autoscaler: seconds of work waiting, looked at as far ahead as a replica takes to start.

Up, in one step to what is needed, when

- the work offered, at the time a new replica would be ready, would fill the replicas beyond their headroom, or
- the work waiting by then would keep requests waiting longer than the target, or
- requests have been waiting longer than the target for a while, or
- requests are held because there is no replica at all.

Down, half of the surplus at a time, when it was not needed for `scale_down_after_s`, nothing waits and no replica is
starting. What was needed is the most that was needed at any time in that while, so noise moves nothing.

Every number follows from `(state, metrics, now)`: a recorded run can be replayed.
"""

from dataclasses import dataclass, field, replace
from math import ceil

from cluster.autoscaling.decision import Decision
from cluster.autoscaling.metrics import FleetMetrics
from cluster.autoscaling.observation import Observation, queue_s
from cluster.autoscaling.targets import AutoscalingTargets

RECOVERY_S = 30.0
"""Work that has piled up is to be worked off within this once the new replicas are there."""
SCALE_DOWN_EVERY_S = 20.0
"""Time to see what giving replicas back has done before more are given back."""
_HEADROOM_USED = 0.6
"""Share of the headroom above the target utilisation that may be used before more replicas are ordered."""
_TREND_LAG_S = 30.0
"""Demand is known as a mean over the past; of a trend's last minute this much has passed on average."""


@dataclass(frozen=True, slots=True)
class AutoscalerState:
    """All that is kept between two decisions.

    Attributes:
        target: replicas asked for.
        seen: what has been learned.
        needs: `(at_s, replicas)`: of the last `scale_down_after_s`, what was needed when nothing later needed more.
        began_s: when the first metrics came; None: none have.
        scaled_up_s: when replicas were last ordered; None: never.
        scaled_down_s: when replicas were last given back; None: never.
    """

    target: int
    seen: Observation = field(default_factory=Observation)
    needs: tuple[tuple[float, int], ...] = ()
    began_s: float | None = None
    scaled_up_s: float | None = None
    scaled_down_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What is expected of the time when a replica ordered now would be ready."""

    rate: float
    demand: float
    lead_s: float
    queue_s: float
    work_then: float
    queue_then_s: float


class Autoscaler:
    """The policy; see the module.

    Args:
        targets: bounds and aims.
    """

    name = "rackserve"

    def __init__(self, targets: AutoscalingTargets) -> None:
        self.targets = targets

    def initial(self, replicas: int) -> AutoscalerState:
        """Return the state of a model that has `replicas` replicas and no past."""
        return AutoscalerState(self.targets.bounded(replicas))

    def decide(self, state: AutoscalerState, metrics: FleetMetrics, now_s: float) -> tuple[AutoscalerState, Decision]:
        """Return the next state and the decision."""
        targets = self.targets
        state = replace(state, seen=state.seen.observe(metrics, now_s))
        outlook = self._outlook(state, metrics, now_s)
        previous = state.target
        wanted, reasons = self._up(state, metrics, outlook, now_s)
        need = self._need(state, metrics, outlook, now_s)
        state = _with_need(state, need, now_s, targets.scale_down_after_s)
        if wanted > previous:
            state = replace(state, target=wanted, scaled_up_s=now_s)
        else:
            given_back, why = self._down(state, metrics, now_s)
            reasons = why or reasons
            if given_back:
                state = replace(state, target=previous - given_back, scaled_down_s=now_s)
        bounded = targets.bounded(state.target)
        if bounded != state.target:
            reasons = (f"{state.target} is outside {targets.min_replicas} to {targets.max_replicas}", *reasons)
            state = replace(state, target=bounded)
        signals = {
            "demand_work_per_s": outlook.demand,
            "replica_work_per_s": outlook.rate,
            "queue_s": outlook.queue_s,
            "queue_then_s": outlook.queue_then_s,
            "lead_s": outlook.lead_s,
            "needed_replicas": float(need),
        }
        return state, Decision(now_s, state.target, previous, reasons or ("as needed",), metrics, signals)

    def _outlook(self, state: AutoscalerState, metrics: FleetMetrics, now_s: float) -> _Outlook:
        seen = state.seen
        rate = seen.work_per_replica_s(metrics)
        lead_s = seen.cold_start.expected_s(self.targets.first_cold_start_s)
        demand = seen.demand.work_per_s() + seen.demand.climb_per_s2() * (lead_s + _TREND_LAG_S)
        if rate <= 0:
            return _Outlook(0.0, demand, lead_s, 0.0, 0.0, 0.0)
        # Until the replicas that are starting are there, those that are ready work; then, all that were asked for.
        alone_s = lead_s
        if metrics.starting and state.scaled_up_s is not None:
            alone_s = max(0.0, lead_s - (now_s - state.scaled_up_s))
        work = metrics.waiting_work + metrics.engine_waiting_work
        work_then = max(0.0, work + (demand - rate * metrics.ready) * alone_s)
        work_then = max(0.0, work_then + (demand - rate * state.target) * (lead_s - alone_s))
        # Admission refuses what would wait longer, so more than this cannot pile up.
        most = max(work, self.targets.longest_wait_s * rate * max(1, metrics.ready))
        work_then = min(work_then, most)
        queue_then_s = work_then / (rate * max(1, state.target))
        return _Outlook(rate, demand, lead_s, queue_s(metrics, rate), work_then, queue_then_s)

    def _up(
        self, state: AutoscalerState, metrics: FleetMetrics, outlook: _Outlook, now_s: float
    ) -> tuple[int, tuple[str, ...]]:
        targets, target = self.targets, state.target
        options: list[tuple[int, str]] = []
        if not metrics.ready and metrics.waiting_requests:
            options.append((max(1, target), f"{metrics.waiting_requests} requests are held and no replica is ready"))
        if outlook.rate > 0:
            full = targets.target_utilisation + _HEADROOM_USED * (1 - targets.target_utilisation)
            if outlook.demand > full * outlook.rate * target:
                needed = ceil(outlook.demand / (targets.target_utilisation * outlook.rate))
                in_replicas = outlook.demand / outlook.rate
                options.append((needed, f"in {outlook.lead_s:.0f} s there will be work for {in_replicas:.1f} replicas"))
            if outlook.queue_then_s > targets.target_queue_s:
                needed = ceil((outlook.demand + outlook.work_then / RECOVERY_S) / outlook.rate)
                options.append((needed, f"in {outlook.lead_s:.0f} s requests would wait {outlook.queue_then_s:.1f} s"))
        elif target and state.seen.steady_since_s is not None and not metrics.starting:
            waited_s = now_s - state.seen.steady_since_s
            if waited_s > targets.target_queue_s:
                options.append((target + 1, f"requests have waited for {waited_s:.0f} s"))
        if (
            not metrics.starting
            and min(state.seen.queue_s, outlook.queue_s) > targets.target_queue_s
            and (state.scaled_up_s is None or now_s - state.scaled_up_s > outlook.lead_s)
        ):
            options.append((target + 1, f"requests have been waiting {state.seen.queue_s:.1f} s"))
        options.sort(key=lambda option: -option[0])
        reasons = tuple(why for needed, why in options if needed > target)
        return targets.bounded(max(target, options[0][0])) if options else target, reasons

    def _need(self, state: AutoscalerState, metrics: FleetMetrics, outlook: _Outlook, now_s: float) -> int:
        """Return how many replicas would do as things are; at least `target` while it cannot be told."""
        targets = self.targets
        if outlook.queue_s > targets.target_queue_s or (outlook.rate <= 0 and metrics.ongoing_requests):
            return state.target
        idle_s = now_s - state.seen.busy_s
        if targets.min_replicas == 0 and idle_s >= targets.scale_to_zero_after_s:
            return 0
        by_demand = ceil(outlook.demand / (targets.target_utilisation * outlook.rate)) if outlook.rate > 0 else 0
        full = targets.target_utilisation + _HEADROOM_USED * (1 - targets.target_utilisation)
        by_utilisation = ceil(state.seen.utilisation * metrics.ready / full)
        return max(1, by_demand, by_utilisation)

    def _down(self, state: AutoscalerState, metrics: FleetMetrics, now_s: float) -> tuple[int, tuple[str, ...]]:
        targets = self.targets
        most = max(replicas for _, replicas in state.needs)
        surplus = state.target - targets.bounded(most)
        if surplus <= 0:
            return 0, ()
        if most == 0:
            return surplus, (f"nothing to do for {now_s - state.seen.busy_s:.0f} s",)
        calm_s = now_s - max(state.began_s or 0.0, state.scaled_up_s or 0.0)
        if calm_s < targets.scale_down_after_s:
            return 0, (f"{most} replicas would do, for {calm_s:.0f} s so far",)
        if metrics.starting:
            return 0, (f"{most} replicas would do; {metrics.starting} are still starting",)
        if state.scaled_down_s is not None and now_s - state.scaled_down_s < SCALE_DOWN_EVERY_S:
            return 0, (f"{most} replicas would do; the last were given back just now",)
        return ceil(surplus / 2), (f"{most} replicas have done for {targets.scale_down_after_s:.0f} s",)


def _with_need(state: AutoscalerState, need: int, now_s: float, keep_s: float) -> AutoscalerState:
    # Of several needs only those count that nothing later exceeds; having been idle long enough overrules all.
    needs = tuple(item for item in state.needs if item[1] > need > 0 and item[0] >= now_s - keep_s)
    began_s = now_s if state.began_s is None else state.began_s
    return replace(state, needs=(*needs, (now_s, need)), began_s=began_s)
