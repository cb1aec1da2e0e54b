"""The fleet of `bench-disaggregation`, and the pools that the planner divides it into."""

from dataclasses import dataclass, replace
from typing import Final

from cluster.model_shapes.known_models import known_model
from cluster.model_shapes.precision import FP8
from cluster.planning.disaggregation import fetched, transfer_s
from cluster.planning.option import largest_batch
from cluster.planning.plan_file import Slo
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.prompt_queue import busy_s, prefill_per_s, prompt_s
from cluster.spec.role import Role
from deployments.simulator.disaggregation.pools import PooledFleet, SimPool
from tests.benchmarks.disaggregation.workloads import IN_TIME, Workload

REPLICAS: Final = 8
COST: Final = ReplicaCost(
    known_model("llama-3.1-70b").in_precision(FP8), ACCELERATORS["h100"], Layout(tensor=4), kv_precision=FP8
)
"""Llama 3.1 70B in FP8 on four H100: eight replicas are four nodes, each an NVLink domain of two replicas."""
DOMAINS: Final = REPLICAS * COST.layout.gpus // COST.hardware.gpus_per_domain
MAX_SEQUENCES: Final = 1024
PREFILL_STEP: Final = 8192
"""Tokens of a prefill replica's largest step: vLLM's default on large GPUs. No stream waits for it."""
STEPS: Final = (512, 2048)
"""Tokens of the largest step of a replica that generates answers, to choose from: with small ones prompts stall streams
less, with large ones prompts are computed faster. One pool is given the better for each workload."""
DECODE_STEP: Final = 512


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What the planner says of a workload on this fleet.

    Attributes:
        one_per_s: requests a second that it expects of one pool.
        prefill: replicas that it gives to prompts, of two pools.
        decode: replicas that it gives to answers.
        apart_per_s: requests a second that it expects of these.
    """

    one_per_s: float
    prefill: int
    decode: int
    apart_per_s: float

    @property
    def is_apart(self) -> bool:
        """Whether it says two pools."""
        return self.apart_per_s > self.one_per_s


def planned(load: Workload) -> FleetPlan:
    """Return what the planner says of a workload: the rates of each kind of replica, and their best ratio.

    The planner knows one TTFT for all requests. So that those with the least time to spare are in time, it is told that
    of a mean prompt with as much to spare as they have.
    """
    work, tpot_s = load.work, min(request.limits.tpot_s for request in load.requests)
    together = replace(COST, step_tokens=DECODE_STEP)
    prefill = replace(COST, step_tokens=PREFILL_STEP)
    spare_s = min(kind.limits.ttft_s - prompt_s(together, kind.work) for kind in load.kinds)
    most = max(1, min(MAX_SEQUENCES, together.sequences(work.mean_context)))
    one_slo = Slo(ttft_s=prompt_s(together, work) + spare_s, tpot_s=tpot_s, share=IN_TIME)
    one = largest_batch(together, work, one_slo, most)
    decode = largest_batch(together, fetched(work), one_slo, most)
    moved_s, _ = transfer_s(COST, COST.layout, COST.layout, work.input_tokens)
    wait_s = max(0.01, spare_s - moved_s - decode.ttft_s)
    each_s = busy_s(prefill, work)
    found = []
    for count in range(1, REPLICAS):
        rate = prefill_per_s(each_s, wait_s, work.input_spread, IN_TIME, count)
        found.append((min(count * rate, (REPLICAS - count) * decode.requests_per_s), -count))
    apart_per_s, minus_prefill = max(found)
    return FleetPlan(REPLICAS * one.requests_per_s, -minus_prefill, REPLICAS + minus_prefill, apart_per_s)


def one_pool(step_tokens: int) -> PooledFleet:
    """Return the fleet as one pool of ordinary replicas."""
    pools = [SimPool("all", Role.BOTH, REPLICAS, step_tokens)]
    return PooledFleet(COST, pools, DOMAINS, MAX_SEQUENCES)


def two_pools(prefill: int) -> PooledFleet:
    """Return the fleet with `prefill` replicas for prompts and the others for answers."""
    pools = [
        SimPool("prefill", Role.PREFILL, prefill, PREFILL_STEP),
        SimPool("decode", Role.DECODE, REPLICAS - prefill, DECODE_STEP),
    ]
    return PooledFleet(COST, pools, DOMAINS, MAX_SEQUENCES)
