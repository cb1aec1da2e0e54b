"""The loads of `bench-slo`, the objective, and the fixed fleets beside which ours is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import cos, pi
from random import Random
from statistics import fmean
from typing import Final

from cluster.autoscaling.staffing import replicas_for
from cluster.autoscaling.targets import AutoscalingTargets
from deployments.simulator.autoscaled_fleet import FleetResult, FleetSettings, run_fleet
from deployments.simulator.fixed_fleet import FixedFleet
from deployments.simulator.loads import DAY_S, SimRequest, Sizes, bursts, bursty_day, noisy
from router.flow_control.limits import AdmissionLimits
from router.flow_control.work import work_of
from router.request import LatencyTargets
from tests.benchmarks.autoscaling_cases import COLD_START_S, ENGINE, busiest_per_s

TARGETS: Final = LatencyTargets(ttft_s=5.0, tpot_s=0.05)
SHARE: Final = 0.95
"""The objective: the first token within 5 s and 50 ms a token, for 95 % of the requests."""
BAR_SHARE: Final = 0.97
"""Share of the requests in time that the bars ask for, and that the smallest fixed fleet has."""
SIZES: Final = Sizes(prompt_tokens=4_000.0, output_tokens=800.0)
LIMITS: Final = AdmissionLimits(max_wait_s=30.0)
KEPT_LIMITS: Final = replace(LIMITS, targets=TARGETS, slo_share=SHARE)
BURSTS_PER_S: Final = 2.0
"""Requests a second between bursts."""
SETTINGS: Final = FleetSettings(engine=ENGINE, cold_start_s=COLD_START_S, limits=LIMITS)
KEPT_SETTINGS: Final = replace(SETTINGS, limits=KEPT_LIMITS)


@dataclass(frozen=True, slots=True)
class SloCase:
    """One load and what it takes.

    Attributes:
        name: of the load.
        requests: in the order they come.
        replica_per_s: requests a second that one replica serves at its limit while its tokens keep their time.
        peak_replicas: the fixed fleet of the peak, as in `bench-autoscaling`: what the staffing rule gives for the
            busiest five minutes. The bars are against this one.
        peak: its result, its batches bounded.
        smallest_replicas: the smallest fixed fleet that has `BAR_SHARE` of the requests in time: known in hindsight.
        smallest: its result.
    """

    name: str
    requests: Sequence[SimRequest]
    replica_per_s: float
    peak_replicas: int
    peak: FleetResult
    smallest_replicas: int
    smallest: FleetResult

    @property
    def work_per_s(self) -> float:
        """Work a second that one replica gets done at its limit, as flow control counts it."""
        return self.replica_per_s * fmean(work_of(r.prompt_tokens, r.output_tokens) for r in self.requests)


def loads(seed: int, *, short: bool) -> dict[str, Sequence[SimRequest]]:
    """Return the loads by name.

    Args:
        seed: draws everything.
        short: bursts alone, for an hour: a smoke test.
    """
    if short:
        return {"bursts": bursts(BURSTS_PER_S, 3_600.0, SIZES, Random(seed))}
    return {
        "sine_day": noisy(lambda at_s: 5.5 - 4.5 * cos(2 * pi * at_s / DAY_S), 0.1, DAY_S, SIZES, Random(seed)),
        "sine_day_with_bursts": bursty_day(5.5, 0.8, 3.0, SIZES, Random(seed)),
        "bursts": bursts(BURSTS_PER_S, 14_400.0, SIZES, Random(seed)),
    }


def sized(name: str, requests: Sequence[SimRequest], say: Callable[[str], None]) -> SloCase:
    """Find what a load takes: the rate of one replica, the fleet of its peak, and the smallest with enough in time."""
    per_s = capacity_per_s(requests)
    peak_replicas = replicas_for(busiest_per_s(requests) / per_s, AutoscalingTargets().headroom)
    tried: dict[int, FleetResult] = {}

    def has_enough(replicas: int) -> bool:
        settings = replace(KEPT_SETTINGS, first_replicas=replicas)
        tried[replicas] = run_fleet(requests, FixedFleet(replicas), settings)
        share = in_time(tried[replicas])
        say(f"{name}: {replicas} fixed replicas have {share:.4f} in time")
        return share >= BAR_SHARE

    smallest = peak_replicas
    if has_enough(smallest):
        while smallest > 1 and has_enough(smallest - 1):
            smallest -= 1
    else:
        while not has_enough(smallest := smallest + 1):
            pass
    return SloCase(name, requests, per_s, peak_replicas, tried[peak_replicas], smallest, tried[smallest])


def in_time(result: FleetResult) -> float:
    """Return the share of the requests that had both latencies; refused ones did not."""
    return result.slo_share_of_both(TARGETS.ttft_s, TARGETS.tpot_s)


def capacity_per_s(requests: Sequence[SimRequest], seconds: float = 1_800.0, per_s: float = 3.0) -> float:
    """Return how many requests like these one replica takes a second while more wait and its tokens keep their time."""
    rng = Random(0)
    endless = [replace(rng.choice(requests), at_s=number / per_s) for number in range(int(per_s * seconds))]
    result = run_fleet(endless, FixedFleet(1), replace(KEPT_SETTINGS, first_replicas=1))
    begin_s = seconds / 3.0  # by then the bound has been learned
    return sum(begin_s <= sent_s < seconds for _, _, sent_s in result.waits_s) / (seconds - begin_s)
