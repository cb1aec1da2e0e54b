"""The simulated fleet, with the live dispatcher: what it does for requests that are to have some latency."""

from dataclasses import replace
from random import Random

import pytest

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.targets import AutoscalingTargets
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.simulator.autoscaled_fleet import FleetResult, FleetSettings, run_fleet
from deployments.simulator.fixed_fleet import FixedFleet
from deployments.simulator.loads import SimRequest, Sizes, poisson
from router.flow_control.limits import AdmissionLimits
from router.request import LatencyTargets

ENGINE = SimSpec(prefill_tokens_per_s=16_000.0, inter_token_s=0.015, inter_token_per_seq_s=0.0008, max_num_seqs=128)
SIZES = Sizes(prompt_tokens=1_000.0, output_tokens=300.0, spread=0.5)
TARGETS = LatencyTargets(ttft_s=5.0, tpot_s=0.04)
PLAIN = AdmissionLimits(max_wait_s=30.0)
KEPT = AdmissionLimits(max_wait_s=30.0, targets=TARGETS, slo_share=0.95)


def _load(per_s: float, until_s: float) -> list[SimRequest]:
    return poisson(lambda _: per_s, per_s, until_s, SIZES, Random(1))


def _too_slow(result: FleetResult, after: int) -> float:
    """Return the share of the later answers whose tokens came too slowly."""
    later = result.latencies_s[after:]
    return sum(token_s > TARGETS.tpot_s for _, token_s in later) / len(later)


@pytest.mark.parametrize("limits", [PLAIN, KEPT], ids=["no targets", "targets"])
def test_batches_are_bounded_so_that_tokens_keep_their_time(limits: AdmissionLimits) -> None:
    """More requests than one replica can take: without targets all run at once and are slow, with them few are."""
    load = _load(6.0, 900.0)
    result = run_fleet(load, FixedFleet(1), FleetSettings(engine=ENGINE, limits=limits, first_replicas=1))
    slow = _too_slow(result, 300)
    assert slow > 0.9 if limits is PLAIN else slow < 0.06
    assert len(result.latencies_s) + sum(result.refused.values()) == len(load)


def test_the_autoscaler_adds_replicas_for_slow_tokens_too() -> None:
    """A load that one replica takes without a queue, but not in time: told of the objective, it gets more."""
    load = _load(2.2, 1_800.0)
    targets = AutoscalingTargets(max_replicas=6, first_cold_start_s=30.0)
    settings = FleetSettings(engine=ENGINE, cold_start_s=30.0, first_replicas=1)
    results = {
        share: run_fleet(
            load, Autoscaler(replace(targets, slo_share=share)), replace(settings, limits=KEPT if share else PLAIN)
        )
        for share in (0.0, 0.95)
    }
    in_time = {share: each.slo_share_of_both(TARGETS.ttft_s, TARGETS.tpot_s) for share, each in results.items()}
    assert in_time[0.95] > 0.93
    assert in_time[0.0] < 0.6
