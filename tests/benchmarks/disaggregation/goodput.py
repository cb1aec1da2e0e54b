"""Goodput: the highest request rate at which 95 % of a load's requests meet their limits, by bisection."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Final

from deployments.simulator.disaggregation.fates import FleetRun
from deployments.simulator.disaggregation.fleet import run_pools
from deployments.simulator.disaggregation.leg_dispatcher import LegDispatcher
from deployments.simulator.disaggregation.pools import PooledFleet
from tests.benchmarks.disaggregation.workloads import IN_TIME, Workload

RATE_STEP: Final = 1.01
"""Rates that are tried are powers of this, so that figures are exact to 1 %, and equal ones are equal."""
_FIRST_STRIDE: Final = 8
_LOWEST: Final = -600
"""Power below which nothing is tried: 0.0026 requests a second."""


@dataclass(frozen=True, slots=True)
class Goodput:
    """What a contestant reached on a workload.

    Attributes:
        per_s: the highest rate at which enough requests met their limits, requests a second; 0: none was found.
        run: the whole run at that rate; None: there is none.
        tried: number of rates that were tried.
    """

    per_s: float
    run: FleetRun | None
    tried: int


def goodput(
    load: Workload, fleet: PooledFleet, dispatcher: Callable[[], LegDispatcher], first_guess_per_s: float
) -> Goodput:
    """Return a contestant's goodput on a workload.

    Args:
        load: the workload.
        fleet: the replicas.
        dispatcher: makes the contestant's dispatcher, a new one for each run.
        first_guess_per_s: the rate to begin with, requests a second.
    """
    held: dict[int, bool] = {}

    def holds(power: int) -> bool:
        if power not in held:
            held[power] = is_within_limits(load, fleet, dispatcher, RATE_STEP**power)
        return held[power]

    low = round(log(first_guess_per_s) / log(RATE_STEP))
    stride = _FIRST_STRIDE
    while not holds(low):
        low -= stride
        stride *= 2
        if low < _LOWEST:
            return Goodput(0.0, None, len(held))
    high = min((power for power, good in held.items() if not good), default=None)
    while high is None:
        if holds(low + stride):
            low += stride
            stride *= 2
        else:
            high = low + stride
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    per_s = RATE_STEP**low
    return Goodput(per_s, run_pools(load.requests, per_s, fleet, dispatcher(), measured=load.measured), len(held))


def is_within_limits(load: Workload, fleet: PooledFleet, dispatcher: Callable[[], LegDispatcher], per_s: float) -> bool:
    """Return whether enough of a workload's requests meet their limits at a rate, requests a second."""
    allowed = int((1 - IN_TIME) * len(load.measured))
    run = run_pools(load.requests, per_s, fleet, dispatcher(), measured=load.measured, most_missed=allowed)
    return not run.is_cut
