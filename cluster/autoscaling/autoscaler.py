"""RackServe's autoscaling policy: it predicts the queue, in seconds of work, for the time a new replica would be ready.

It asks for more replicas, in one step to the number needed, when

- the demand at that time would use up the headroom, or
- the work waiting at that time would make requests wait longer than the target, or
- requests have been waiting longer than the target for a while, or
- fewer requests than the objective's share had their latencies, in the last minute and in the last half hour, or
- requests are held because there is no replica at all.

It gives half of the surplus back at a time, when the surplus was not needed for a while, nothing waits and no replica
is starting. The need of that while is the highest need at any time in it, so noise changes nothing.

It learns from mistakes and forgets them over an hour. Requests that wait although the headroom should have been enough
show that the load varies more than assumed: the headroom grows. Where there is an objective, the headroom follows the
share of requests in time instead (`slo_headroom`).

Every number follows from `(state, metrics, now)`, so a recorded run can be replayed.
"""

from dataclasses import dataclass, field, replace
from math import ceil, sqrt

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.demand import WINDOWS_S
from cluster.autoscaling.ewma import kept
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.observation import Observation
from cluster.autoscaling.outlook import Orders, Outlook, look_ahead
from cluster.autoscaling.replica_rate import ReplicaRate
from cluster.autoscaling.slo_headroom import InTime
from cluster.autoscaling.staffing import replicas_for
from cluster.autoscaling.targets import AutoscalingTargets

RECOVERY_S = 60.0
"""Seconds within which new replicas, once ready, are to finish the work that has piled up."""
SCALE_DOWN_EVERY_S = 20.0
"""Seconds between two steps down, to see the effect of the first."""
HEADROOM_LEFT = 0.4
"""Share of the planned headroom below which more replicas are ordered; the order restores all of it."""
FORGET_S = 3600.0
"""Time constant, in seconds, with which a grown headroom decays to the operator's."""
MOST_HEADROOM = 4.0
"""Largest headroom, as a multiple of the operator's."""
OVERDUE_STARTS = 3.0
"""Usual starts after which replicas still starting no longer delay a step down: machines for them may be lacking."""
STARTS_KEPT = 2.0
"""Usual starts for which a replica without need is kept where there is an objective."""
PRESENT_S, LATE_S = 40.0, 160.0
"""Seconds of the load that there is now, and of the load in which the requests came of which the last minute told."""
STILL = 0.9
"""Share of the load of `LATE_S` below which it has fallen."""
KEPT_ORDERS = 32
"""Number of the latest orders that are remembered."""
AS_NEEDED = ("as needed",)
AT_MOST = "no more than"
"""How the first reason of a decision begins that would ask for more replicas if the operator allowed more."""


@dataclass(frozen=True, slots=True)
class AutoscalerState:
    """Everything kept between two decisions. Times are monotonic seconds.

    Attributes:
        target: replicas asked for.
        headroom: the headroom in use, at least the operator's.
        seen: what has been learned about load and replicas.
        in_time: which requests had their latencies.
        needs: pairs of a time and the replicas needed then, within the last `scale_down_after_s`; only those that no
            later need exceeds.
        orders: the latest orders of replicas.
        at_s: when the last decision was made; None: none was made.
        began_s: when the first decision was made.
        is_calm: whether, at some time since replicas were last ordered, none was starting and waits were within the
            target.
        scaled_up_s: when replicas were last ordered; None: never.
        scaled_down_s: when replicas were last given back; None: never.
    """

    target: int
    headroom: float
    seen: Observation = field(default_factory=Observation)
    in_time: InTime = field(default_factory=InTime)
    needs: tuple[tuple[float, int], ...] = ()
    orders: Orders = ()
    at_s: float | None = None
    began_s: float = 0.0
    is_calm: bool = False
    scaled_up_s: float | None = None
    scaled_down_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    """A wish for more replicas.

    Attributes:
        replicas: replicas wished for.
        reason: the reason in words.
        is_mistake: whether the headroom should have been enough but was not.
    """

    replicas: int
    reason: str
    is_mistake: bool = False


class Autoscaler:
    """RackServe's policy; the module describes its rules.

    Args:
        targets: the operator's bounds and aims.
    """

    name = "rackserve"

    def __init__(self, targets: AutoscalingTargets) -> None:
        self.targets = targets

    def initial(self, replicas: int) -> AutoscalerState:
        """Return the first state of a model with `replicas` replicas."""
        targets = self.targets
        seen = Observation(rate=ReplicaRate.believed(targets.first_work_per_s))
        return AutoscalerState(targets.bounded(replicas), targets.headroom, seen)

    def decide(
        self, state: AutoscalerState, metrics: FleetMetrics, now_s: float
    ) -> tuple[AutoscalerState, ScalingDecision]:
        """Return the next state and the decision.

        Args:
            state: the state that the last call returned.
            metrics: the latest metrics.
            now_s: the time, monotonic seconds.
        """
        targets, previous = self.targets, state.target
        seen = state.seen.observe(metrics, now_s)
        is_calm = state.is_calm or (not metrics.starting and seen.queue_s <= targets.target_queue_s)
        in_time = state.in_time.observe(metrics, now_s - (now_s if state.at_s is None else state.at_s))
        state = self._forget(replace(state, seen=seen, in_time=in_time, is_calm=is_calm), now_s)
        outlook = look_ahead(targets, state.seen, metrics, target=previous, orders=state.orders, now_s=now_s)
        need = self._need(state, metrics, outlook, now_s)
        state = _with_need(state, need, now_s, self._patience_s(outlook.lead_s))
        wishes = [wish for wish in self._wishes(state, metrics, outlook, now_s) if wish.replicas > previous]
        if not need:
            # Nothing has been asked for long. Demand that is only remembered brings no replica back while the last one
            # is still there because Serve has not yet obeyed.
            wishes = []
        if wishes and previous < targets.max_replicas:
            state = self._up(state, max(wish.replicas for wish in wishes), outlook, now_s, wishes)
            reasons = tuple(wish.reason for wish in sorted(wishes, key=lambda wish: -wish.replicas))
        else:
            given_back, reasons = self._down(state, metrics, outlook.lead_s, now_s)
            if given_back:
                state = replace(state, target=previous - given_back, scaled_down_s=now_s)
            elif wishes:
                reasons = (f"{AT_MOST} {targets.max_replicas} are allowed", *(wish.reason for wish in wishes))
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
        if targets.slo_share:
            signals["in_time_share"] = in_time.recent.mean if in_time.recent.weight else 1.0
        return state, ScalingDecision(now_s, state.target, previous, reasons or AS_NEEDED, metrics, signals)

    def _forget(self, state: AutoscalerState, now_s: float) -> AutoscalerState:
        targets = self.targets
        if state.at_s is None:
            return replace(state, at_s=now_s, began_s=now_s)
        elapsed_s = max(0.0, now_s - state.at_s)
        if targets.slo_share:
            most = MOST_HEADROOM * targets.headroom
            moved = state.in_time.headroom(state.headroom, targets.headroom, most, targets.slo_share, elapsed_s)
            return replace(state, at_s=now_s, headroom=moved)
        keep = kept(elapsed_s, FORGET_S)
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
            if self._replicas(state, outlook, HEADROOM_LEFT) > target:
                reason = f"in {outlook.lead_s:.0f} s there will be work for {outlook.load:.1f} replicas"
                wishes.append(_Wish(self._replicas(state, outlook), reason))
            if outlook.queue_then_s > wait_s:
                recovering = ceil(outlook.load + outlook.work_then / (RECOVERY_S * outlook.rate))
                reason = f"in {outlook.lead_s:.0f} s requests would wait {outlook.queue_then_s:.1f} s"
                wishes.append(_Wish(recovering, reason))
        if metrics.starting or not metrics.ready:
            return wishes
        if self._has_recovered(state, outlook, now_s) and min(state.seen.queue_s, outlook.queue_s) > wait_s:
            reason = f"requests have been waiting {state.seen.queue_s:.1f} s"
            wishes.append(_Wish(target + 1, reason, is_mistake=True))
        share = self.targets.slo_share
        is_short = share and state.in_time.is_short(share) and not _is_over(state)
        if is_short and self._has_recovered(state, outlook, now_s):
            reason = f"{state.in_time.recent.mean:.0%} of the requests are in time, {share:.0%} should be"
            wishes.append(_Wish(target + 1, reason, is_mistake=True))
        waiting_s = 0.0 if state.seen.steady_since_s is None else now_s - state.seen.steady_since_s
        if outlook.rate <= 0 and waiting_s > wait_s:
            wishes.append(_Wish(target + 1, f"requests have been waiting for {waiting_s:.0f} s"))
        return wishes

    @staticmethod
    def _has_recovered(state: AutoscalerState, outlook: Outlook, now_s: float) -> bool:
        """Tell whether waiting requests show a new shortage, not the rest of the one that replicas were ordered for."""
        since_s = state.began_s if state.scaled_up_s is None else state.scaled_up_s + outlook.lead_s
        return state.is_calm or now_s - since_s > 2 * RECOVERY_S

    def _up(
        self, state: AutoscalerState, wanted: int, outlook: Outlook, now_s: float, wishes: list[_Wish]
    ) -> AutoscalerState:
        targets = self.targets
        headroom = state.headroom
        # With an objective, the share in time moves the headroom: one bad minute must not be counted twice.
        if not targets.slo_share and all(wish.is_mistake for wish in wishes) and outlook.load > 0:
            enough = (wanted - outlook.load) / sqrt(outlook.load)
            headroom = max(headroom, min(enough, MOST_HEADROOM * targets.headroom))
        wanted = targets.bounded(wanted)
        orders = (*state.orders[1 - KEPT_ORDERS :], (now_s, wanted - state.target))
        return replace(state, target=wanted, headroom=headroom, orders=orders, scaled_up_s=now_s, is_calm=False)

    def _need(self, state: AutoscalerState, metrics: FleetMetrics, outlook: Outlook, now_s: float) -> int:
        """Return the number of replicas needed now; the present target while requests wait or the rate is unknown."""
        targets = self.targets
        waits = min(outlook.queue_s, state.seen.queue_s) > targets.target_queue_s
        if waits or (outlook.rate <= 0 and metrics.ongoing_requests):
            return max(1, state.target)
        if targets.min_replicas == 0 and now_s - state.seen.busy_s >= targets.scale_to_zero_after_s:
            return 0
        by_utilisation = replicas_for(state.seen.utilisation * metrics.ready, HEADROOM_LEFT * targets.headroom)
        return max(1, self._replicas(state, outlook), by_utilisation)

    def _replicas(self, state: AutoscalerState, outlook: Outlook, part: float = 1.0) -> int:
        """Return the replicas for the load with a part of the headroom.

        A headroom that has grown so that an objective is kept is for what comes faster than replicas start. It stands
        beside the load of the last minutes: a burst that is there already needs no more than the operator's.
        """
        load, usual = outlook.load, self.targets.headroom
        if not self.targets.slo_share or state.headroom <= usual or outlook.rate <= 0:
            return replicas_for(load, part * state.headroom)
        lasting = min(load, state.seen.demand.over(WINDOWS_S[-1]) / outlook.rate)
        return max(replicas_for(load, part * usual), replicas_for(lasting, part * state.headroom))

    def _patience_s(self, lead_s: float) -> float:
        """Return the seconds without need after which a replica is given back.

        Where there is an objective, what comes faster than replicas start has its headroom. Those that a burst was
        given need not wait for the next one.
        """
        after_s = self.targets.scale_down_after_s
        return min(after_s, STARTS_KEPT * lead_s) if self.targets.slo_share else after_s

    def _down(
        self, state: AutoscalerState, metrics: FleetMetrics, lead_s: float, now_s: float
    ) -> tuple[int, tuple[str, ...]]:
        most = max(replicas for _, replicas in state.needs)
        surplus = state.target - self.targets.bounded(most)
        if surplus <= 0:
            return 0, ()
        if most == 0:
            return surplus, ("there has been nothing to do",)
        would_do = f"{most} {'replica' if most == 1 else 'replicas'} would do"
        patience_s = self._patience_s(lead_s)
        if now_s - max(state.began_s, state.scaled_up_s or state.began_s) < patience_s:
            return 0, (f"{would_do}, but not for long enough",)
        if metrics.starting and now_s - (state.scaled_up_s or state.began_s) < OVERDUE_STARTS * lead_s:
            return 0, (f"{would_do}, but others are still starting",)
        if state.scaled_down_s is not None and now_s - state.scaled_down_s < SCALE_DOWN_EVERY_S:
            return 0, (f"{would_do}, but some were given back just now",)
        return ceil(surplus / 2), (f"{would_do}, and have for {patience_s:.0f} s",)


def _is_over(state: AutoscalerState) -> bool:
    """Tell whether the load has fallen since late requests came: what a burst lacked, nobody lacks after it."""
    demand = state.seen.demand
    return demand.over(PRESENT_S) < STILL * demand.over(LATE_S)


def _with_need(state: AutoscalerState, need: int, now_s: float, keep_s: float) -> AutoscalerState:
    # A need that a later one reaches or exceeds no longer counts. A need of 0, after long idleness, drops all others.
    needs = tuple(item for item in state.needs if item[1] > need > 0 and item[0] >= now_s - keep_s)
    return replace(state, needs=(*needs, (now_s, need)))
