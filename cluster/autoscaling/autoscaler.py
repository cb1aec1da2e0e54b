"""RackServe's autoscaler: seconds of work waiting, looked at as far ahead as a replica takes to start.

Up, in one step to what is needed, when

- the work offered, at the time a new replica would be ready, would use up the headroom, or
- the work waiting by then would keep requests waiting longer than the target, or
- requests have been waiting longer than the target for a while, or
- requests are held because there is no replica at all.

Down, half of the surplus at a time, when it was not needed for a while, nothing waits and no replica is starting. What
was needed is the most that was needed at any time in that while, so noise moves nothing.

Mistakes are learned from, and forgotten over an hour: requests that wait although there was headroom enough say that
chance is larger than thought, and the headroom grows.

Every number follows from `(state, metrics, now)`: a recorded run can be replayed.
"""

from dataclasses import dataclass, field, replace
from math import ceil, sqrt

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.ewma import kept
from cluster.autoscaling.metrics import FleetMetrics
from cluster.autoscaling.observation import Observation
from cluster.autoscaling.outlook import Orders, Outlook, look_ahead
from cluster.autoscaling.replica_rate import ReplicaRate
from cluster.autoscaling.staffing import replicas_for
from cluster.autoscaling.targets import AutoscalingTargets

RECOVERY_S = 60.0
"""Work that has piled up is to be worked off within this once the new replicas are there."""
SCALE_DOWN_EVERY_S = 20.0
"""Time to see what giving replicas back has done before more are given back."""
HEADROOM_LEFT = 0.4
"""More replicas are ordered when the headroom has shrunk to this share of what is planned; then to all of it."""
FORGET_S = 3600.0
"""Time constant with which what was learned from mistakes is forgotten."""
MOST_HEADROOM = 4.0
"""The headroom grows to so many times what was asked for at the most."""
OVERDUE_STARTS = 3.0
"""After so many usual starts, what still starts may never come, for want of machines: it holds up nothing."""
KEPT_ORDERS = 32
AS_NEEDED = ("as needed",)


@dataclass(frozen=True, slots=True)
class AutoscalerState:
    """All that is kept between two decisions.

    Attributes:
        target: replicas asked for.
        headroom: planned for now, at least the targets'.
        seen: what has been learned of the load.
        needs: `(at_s, replicas)`: of the last `scale_down_after_s`, what was needed when nothing later needed more.
        orders: the last times that replicas were ordered.
        at_s: when the last decision was made; None: none was.
        began_s: when the first was.
        is_calm: requests have not been waiting too long at some time since replicas were last ordered.
        scaled_up_s: when replicas were last ordered; None: never.
        scaled_down_s: when replicas were last given back; None: never.
    """

    target: int
    headroom: float
    seen: Observation = field(default_factory=Observation)
    needs: tuple[tuple[float, int], ...] = ()
    orders: Orders = ()
    at_s: float | None = None
    began_s: float = 0.0
    is_calm: bool = False
    scaled_up_s: float | None = None
    scaled_down_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    """So many replicas, for that reason; `is_mistake`: the headroom should have been enough, and wasn't."""

    replicas: int
    reason: str
    is_mistake: bool = False


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
        targets = self.targets
        seen = Observation(rate=ReplicaRate.believed(targets.first_work_per_s))
        return AutoscalerState(targets.bounded(replicas), targets.headroom, seen)

    def decide(
        self, state: AutoscalerState, metrics: FleetMetrics, now_s: float
    ) -> tuple[AutoscalerState, ScalingDecision]:
        """Return the next state and the decision."""
        targets, previous = self.targets, state.target
        seen = state.seen.observe(metrics, now_s)
        is_calm = state.is_calm or (not metrics.starting and seen.queue_s <= targets.target_queue_s)
        state = self._forget(replace(state, seen=seen, is_calm=is_calm), now_s)
        outlook = look_ahead(targets, state.seen, metrics, target=previous, orders=state.orders, now_s=now_s)
        need = self._need(state, metrics, outlook, now_s)
        state = _with_need(state, need, now_s, targets.scale_down_after_s)
        wishes = [wish for wish in self._wishes(state, metrics, outlook, now_s) if wish.replicas > previous]
        if wishes and previous < targets.max_replicas:
            state = self._up(state, max(wish.replicas for wish in wishes), outlook, now_s, wishes)
            reasons = tuple(wish.reason for wish in sorted(wishes, key=lambda wish: -wish.replicas))
        else:
            given_back, reasons = self._down(state, metrics, now_s)
            if given_back:
                state = replace(state, target=previous - given_back, scaled_down_s=now_s)
            elif wishes:
                reasons = (f"no more than {targets.max_replicas} are allowed", *(wish.reason for wish in wishes))
        bounded = targets.bounded(state.target)
        if bounded != state.target:
            reasons = (f"{state.target} is outside {targets.min_replicas} to {targets.max_replicas}", *reasons)
            state = replace(state, target=bounded)
        signals = {
            "demand_work_per_s": outlook.demand,
            "replica_work_per_s": outlook.rate,
            "load_replicas": outlook.load,
            "queue_s": outlook.queue_s,
            "queue_then_s": outlook.queue_then_s,
            "lead_s": outlook.lead_s,
            "needed_replicas": float(need),
            "headroom": state.headroom,
        }
        return state, ScalingDecision(now_s, state.target, previous, reasons or AS_NEEDED, metrics, signals)

    def _forget(self, state: AutoscalerState, now_s: float) -> AutoscalerState:
        targets = self.targets
        if state.at_s is None:
            return replace(state, at_s=now_s, began_s=now_s)
        keep = kept(max(0.0, now_s - state.at_s), FORGET_S)
        return replace(
            state,
            at_s=now_s,
            headroom=targets.headroom + (state.headroom - targets.headroom) * keep,
        )

    def _wishes(self, state: AutoscalerState, metrics: FleetMetrics, outlook: Outlook, now_s: float) -> list[_Wish]:
        wait_s, target = self.targets.target_queue_s, state.target
        wishes: list[_Wish] = []
        if not metrics.ready and metrics.waiting_requests:
            reason = f"{metrics.waiting_requests} requests are held and no replica is ready"
            wishes.append(_Wish(1, reason))
        if outlook.rate > 0:
            if replicas_for(outlook.load, HEADROOM_LEFT * state.headroom) > target:
                reason = f"in {outlook.lead_s:.0f} s there will be work for {outlook.load:.1f} replicas"
                wishes.append(_Wish(replicas_for(outlook.load, state.headroom), reason))
            if outlook.queue_then_s > wait_s:
                recovering = ceil(outlook.load + outlook.work_then / (RECOVERY_S * outlook.rate))
                reason = f"in {outlook.lead_s:.0f} s requests would wait {outlook.queue_then_s:.1f} s"
                wishes.append(_Wish(recovering, reason))
        if metrics.starting or not metrics.ready:
            return wishes
        if self._has_recovered(state, outlook, now_s) and min(state.seen.queue_s, outlook.queue_s) > wait_s:
            reason = f"requests have been waiting {state.seen.queue_s:.1f} s"
            wishes.append(_Wish(target + 1, reason, is_mistake=True))
        waiting_s = 0.0 if state.seen.steady_since_s is None else now_s - state.seen.steady_since_s
        if outlook.rate <= 0 and waiting_s > wait_s:
            wishes.append(_Wish(target + 1, f"requests have been waiting for {waiting_s:.0f} s"))
        return wishes

    @staticmethod
    def _has_recovered(state: AutoscalerState, outlook: Outlook, now_s: float) -> bool:
        """Tell whether a wait would be a new one: not what is left of the one that replicas were ordered for."""
        since_s = state.began_s if state.scaled_up_s is None else state.scaled_up_s + outlook.lead_s
        return state.is_calm or now_s - since_s > 2 * RECOVERY_S

    def _up(
        self, state: AutoscalerState, wanted: int, outlook: Outlook, now_s: float, wishes: list[_Wish]
    ) -> AutoscalerState:
        targets = self.targets
        headroom = state.headroom
        if all(wish.is_mistake for wish in wishes) and outlook.load > 0:
            enough = (wanted - outlook.load) / sqrt(outlook.load)
            headroom = max(headroom, min(enough, MOST_HEADROOM * targets.headroom))
        wanted = targets.bounded(wanted)
        orders = (*state.orders[1 - KEPT_ORDERS :], (now_s, wanted - state.target))
        return replace(state, target=wanted, headroom=headroom, orders=orders, scaled_up_s=now_s, is_calm=False)

    def _need(self, state: AutoscalerState, metrics: FleetMetrics, outlook: Outlook, now_s: float) -> int:
        """Return how many replicas would do as things are; `target` while that cannot be told."""
        targets = self.targets
        waits = min(outlook.queue_s, state.seen.queue_s) > targets.target_queue_s
        if waits or (outlook.rate <= 0 and metrics.ongoing_requests):
            return max(1, state.target)
        if targets.min_replicas == 0 and now_s - state.seen.busy_s >= targets.scale_to_zero_after_s:
            return 0
        by_utilisation = replicas_for(state.seen.utilisation * metrics.ready, HEADROOM_LEFT * targets.headroom)
        return max(1, replicas_for(outlook.load, state.headroom), by_utilisation)

    def _down(self, state: AutoscalerState, metrics: FleetMetrics, now_s: float) -> tuple[int, tuple[str, ...]]:
        most = max(replicas for _, replicas in state.needs)
        surplus = state.target - self.targets.bounded(most)
        if surplus <= 0:
            return 0, ()
        if most == 0:
            return surplus, ("there has been nothing to do",)
        would_do = f"{most} {'replica' if most == 1 else 'replicas'} would do"
        if now_s - max(state.began_s, state.scaled_up_s or state.began_s) < self.targets.scale_down_after_s:
            return 0, (f"{would_do}, but not for long enough",)
        patience_s = OVERDUE_STARTS * state.seen.cold_start.expected_s(self.targets.first_cold_start_s)
        if metrics.starting and now_s - (state.scaled_up_s or state.began_s) < patience_s:
            return 0, (f"{would_do}, but others are still starting",)
        if state.scaled_down_s is not None and now_s - state.scaled_down_s < SCALE_DOWN_EVERY_S:
            return 0, (f"{would_do}, but some were given back just now",)
        return ceil(surplus / 2), (f"{would_do}, and have for {self.targets.scale_down_after_s:.0f} s",)


def _with_need(state: AutoscalerState, need: int, now_s: float, keep_s: float) -> AutoscalerState:
    # Of several needs only those count that nothing later exceeds; having been idle long enough overrules all.
    needs = tuple(item for item in state.needs if item[1] > need > 0 and item[0] >= now_s - keep_s)
    return replace(state, needs=(*needs, (now_s, need)))
