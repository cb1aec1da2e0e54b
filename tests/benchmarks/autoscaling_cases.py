"""The loads of `bench-autoscaling`, what they run on, and how the fleets that are compared are sized."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, pi
from random import Random
from statistics import fmean

from cluster.autoscaling.staffing import replicas_for
from cluster.autoscaling.targets import AutoscalingTargets
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.simulator.autoscaled_fleet import FleetResult, FleetSettings, run_fleet
from deployments.simulator.fixed_fleet import FixedFleet
from deployments.simulator.loads import SimRequest, Sizes, bursts, noisy, recorded, step
from deployments.simulator.trace_file import read_trace
from router.flow_control.limits import AdmissionLimits
from router.flow_control.work import work_of
from tests.data_files import MOONCAKE_TRACE

ENGINE = SimSpec(prefill_tokens_per_s=16_000.0, inter_token_s=0.015, inter_token_per_seq_s=0.0008, max_num_seqs=128)
"""One replica: 16 000 prompt tokens/s; 15 ms a token for one sequence, 65 ms for 64 at once."""
SIZES = Sizes(prompt_tokens=8_000.0, output_tokens=800.0)
COLD_START_S = 60.0
LIMITS = AdmissionLimits(max_wait_s=30.0)
SETTINGS = FleetSettings(engine=ENGINE, cold_start_s=COLD_START_S, limits=LIMITS)
TARGETS = AutoscalingTargets(target_queue_s=2.0, longest_wait_s=LIMITS.max_wait_s, first_cold_start_s=COLD_START_S)
BUSIEST_S = 300.0
MOST = 2
"""Autoscalers may go to so many times the fixed fleet, as one would to work off what has piled up."""
SLO_S = 5.0
TRACE_SLO_S = 10.0
"""The trace's longest prompts alone take 8 s to prefill."""
DAY_S = 86_400.0
SETTLED_S = 1_200.0
LOAD_TEST_S = 1_800.0
IN_TIME = 0.99
_HALVINGS = 7


@dataclass(frozen=True, slots=True)
class Case:
    """One load and what it is held to.

    Attributes:
        name: of the load.
        requests: in the order they come.
        slo_s: a request is in time if its first token comes within this.
        first_replicas: ready when it begins: what the staffing rule gives for its first five minutes; 1 for the trace,
            which begins at full load.
        peak_replicas: the fixed fleet: what the staffing rule gives for the busiest five minutes.
        work_per_s: what one replica gets done at its limit, from a load test.
        ongoing_in_time: requests on one replica, on average, under the highest constant load that it serves in time:
            what Ray's guide has its users set `target_ongoing_requests` to.
        fixed: the fixed fleet's result.
    """

    name: str
    requests: Sequence[SimRequest]
    slo_s: float
    first_replicas: int
    peak_replicas: int
    work_per_s: float
    ongoing_in_time: float
    fixed: FleetResult


def loads(seed: int, *, short: bool) -> dict[str, Sequence[SimRequest]]:
    """Return the loads by name; the trace only where there is one.

    Args:
        seed: draws everything.
        short: parts of them, for a smoke test.
    """
    found: dict[str, Sequence[SimRequest]] = {
        "step": step(1.5, 5.0, SIZES, Random(seed)),
        "bursts": bursts(2.0, 3_600.0 if short else 14_400.0, SIZES, Random(seed)),
    }
    if not short:
        found["constant"] = noisy(lambda _: 5.0, 0.1, 7_200.0, SIZES, Random(seed))
        found["sine_day"] = noisy(lambda at_s: 5.5 - 4.5 * cos(2 * pi * at_s / DAY_S), 0.1, DAY_S, SIZES, Random(seed))
    path = MOONCAKE_TRACE.found()
    if path is not None:
        found["mooncake"] = recorded(read_trace(path, 3_000 if short else None))
    return found


def sized(name: str, requests: Sequence[SimRequest]) -> Case:
    """Work out what a load needs and run the fixed fleet on it."""
    capacity = capacity_per_s(requests)
    slo_s = TRACE_SLO_S if name == "mooncake" else SLO_S
    peak = replicas_for(busiest_per_s(requests) / capacity, TARGETS.headroom)
    fixed = run_fleet(requests, FixedFleet(peak), replace(SETTINGS, first_replicas=peak))
    first = sum(request.at_s < BUSIEST_S for request in requests) / BUSIEST_S
    return Case(
        name=name,
        requests=requests,
        slo_s=slo_s,
        first_replicas=1 if name == "mooncake" else replicas_for(first / capacity, TARGETS.headroom),
        peak_replicas=peak,
        work_per_s=capacity * fmean(work_of(r.prompt_tokens, r.output_tokens) for r in requests),
        ongoing_in_time=_ongoing_in_time(requests, capacity, slo_s),
        fixed=fixed,
    )


def capacity_per_s(requests: Sequence[SimRequest], seconds: float = 900.0, per_s: float = 4.0) -> float:
    """Return how many requests like these one replica takes a second while more wait: a load test of one replica."""
    rng = Random(0)
    endless = [replace(rng.choice(requests), at_s=number / per_s) for number in range(int(per_s * seconds))]
    result = run_fleet(endless, FixedFleet(1), SETTINGS)
    begin_s = seconds / 3.0  # by then the batch is as full as it will be
    return sum(begin_s <= sent_s < seconds for _, _, sent_s in result.waits_s) / (seconds - begin_s)


def _ongoing_in_time(requests: Sequence[SimRequest], capacity: float, slo_s: float) -> float:
    """Return the mean number of requests on one replica at the highest load of which it serves `IN_TIME` in time."""
    low, high, ongoing = 0.0, capacity, 1.0
    for _ in range(_HALVINGS):
        per_s = 0.5 * (low + high)
        rng = Random(0)
        at_s, sent = 0.0, []
        while at_s < LOAD_TEST_S:
            at_s += rng.expovariate(per_s)
            sent.append(replace(rng.choice(requests), at_s=at_s))
        result = run_fleet(sent, FixedFleet(1), SETTINGS)
        if result.slo_share(slo_s) >= IN_TIME:
            low, ongoing = per_s, fmean(moment.in_flight for moment in result.timeline)
        else:
            high = per_s
    return ongoing


def busiest_per_s(requests: Sequence[SimRequest]) -> float:
    """Return the requests a second of the busiest five minutes."""
    return max(Counter(int(request.at_s / BUSIEST_S) for request in requests).values()) / BUSIEST_S
