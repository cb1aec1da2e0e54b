"""The loads of `bench-slo`, the objective, and how large a fixed fleet must be to hold it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, cos, pi
from random import Random
from statistics import fmean
from typing import Final

from deployments.simulator.autoscaled_fleet import FleetResult, FleetSettings, run_fleet
from deployments.simulator.fixed_fleet import FixedFleet
from deployments.simulator.loads import DAY_S, SimRequest, Sizes, bursts, bursty_day, noisy
from router.flow_control.limits import AdmissionLimits
from router.flow_control.work import work_of
from router.request import LatencyTargets
from tests.benchmarks.autoscaling_cases import COLD_START_S, ENGINE

TARGETS: Final = LatencyTargets(ttft_s=5.0, tpot_s=0.05)
SHARE: Final = 0.95
"""The objective: the first token within 5 s and 50 ms a token, for 95 % of the requests."""
BAR_SHARE: Final = 0.97
"""Share of the requests in time that the bars ask for, and that the fixed fleet is sized for."""
SIZES: Final = Sizes(prompt_tokens=4_000.0, output_tokens=800.0)
LIMITS: Final = AdmissionLimits(max_wait_s=30.0)
KEPT_LIMITS: Final = replace(LIMITS, targets=TARGETS, slo_share=SHARE)
SETTINGS: Final = FleetSettings(engine=ENGINE, cold_start_s=COLD_START_S, limits=LIMITS)
KEPT_SETTINGS: Final = replace(SETTINGS, limits=KEPT_LIMITS)


@dataclass(frozen=True, slots=True)
class SloCase:
    """One load and what it takes.

    Attributes:
        name: of the load.
        requests: in the order they come.
        replica_per_s: requests a second that one replica serves at its limit while its tokens keep their time.
        fixed_replicas: the smallest fixed fleet that has `BAR_SHARE` of the requests in time, its batches bounded.
        fixed: its result.
    """

    name: str
    requests: Sequence[SimRequest]
    replica_per_s: float
    fixed_replicas: int
    fixed: FleetResult

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
        return {"bursts": bursts(2.0, 3_600.0, SIZES, Random(seed))}
    return {
        "sine_day": noisy(lambda at_s: 5.5 - 4.5 * cos(2 * pi * at_s / DAY_S), 0.1, DAY_S, SIZES, Random(seed)),
        "sine_day_with_bursts": bursty_day(5.5, 0.8, 3.0, SIZES, Random(seed)),
        "bursts": bursts(2.0, 14_400.0, SIZES, Random(seed)),
    }


def sized(name: str, requests: Sequence[SimRequest], say: Callable[[str], None]) -> SloCase:
    """Find what a load takes: the rate of one replica, and the smallest fixed fleet that has enough in time."""
    per_s = capacity_per_s(requests)
    replicas = ceil(len(requests) / requests[-1].at_s / per_s)
    low, found = replicas - 1, None
    while found is None or replicas - low > 1:
        tried = replicas if found is None else (low + replicas) // 2
        result = run_fleet(requests, FixedFleet(tried), replace(KEPT_SETTINGS, first_replicas=tried))
        share = in_time(result)
        say(f"{name}: {tried} fixed replicas have {share:.4f} in time")
        if share >= BAR_SHARE:
            replicas, found = tried, result
        else:
            low = tried
            replicas = ceil(1.3 * tried) if found is None else replicas
    return SloCase(name, requests, per_s, replicas, found)


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
