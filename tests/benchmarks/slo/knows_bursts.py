"""How few GPU-hours bursts could take: a policy that knows, in a burst's first second, how high it is and when it ends.

It cannot know of a burst before, and what it orders takes a start to be ready, as for everybody. No autoscaler sees so
much; what it cannot reach with a fleet that stands ready between bursts, none can.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Final

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.staffing import replicas_for
from cluster.autoscaling.targets import AutoscalingTargets
from deployments.simulator.autoscaled_fleet import FleetResult, run_fleet
from deployments.simulator.loads import Bursts
from tests.benchmarks.slo.slo_cases import BAR_SHARE, BURSTS_PER_S, KEPT_SETTINGS, SloCase, in_time

HEADROOM: Final = AutoscalingTargets().headroom


class KnowsBursts:
    """Asks for what a burst needs from its first second to its last, else for the fleet that stands ready.

    Args:
        load: replicas that the requests of a time keep busy.
        standing: replicas between bursts.
    """

    name = "knows_bursts"

    def __init__(self, load: Callable[[float], float], standing: int) -> None:
        self._load = load
        self._standing = standing
        self._usual = load(0.0)

    def initial(self, replicas: int) -> int:
        """Return `replicas`: the only state is the number of replicas asked for before."""
        return replicas

    def decide(self, state: int, metrics: FleetMetrics, now_s: float) -> tuple[int, ScalingDecision]:
        """Return the replicas for the load at this second as next state and as decision."""
        load = self._load(now_s)
        wanted = max(self._standing, replicas_for(load, HEADROOM)) if load > self._usual else self._standing
        return wanted, ScalingDecision(now_s, wanted, state, ("known",), metrics)


def fewest_hours(case: SloCase, seed: int) -> FleetResult:
    """Return what came of bursts with the smallest standing fleet with which enough are in time.

    Args:
        case: the load `bursts`.
        seed: that drew it.
    """
    per_s = Bursts(BURSTS_PER_S, case.requests[-1].at_s, Random(seed)).per_s
    standing = 1
    while True:
        policy = KnowsBursts(lambda at_s: per_s(at_s) / case.replica_per_s, standing)
        result = run_fleet(case.requests, policy, replace(KEPT_SETTINGS, first_replicas=standing))
        if in_time(result) >= BAR_SHARE:
            return result
        standing += 1
