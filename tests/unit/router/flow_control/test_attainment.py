"""Whether requests had the latencies that they were to have, counted by model, tenant and window."""

from math import inf

import pytest

from router.flow_control.attainment import (
    BUCKET_S,
    LONGEST_S,
    Attainment,
    Share,
    Timeliness,
    attainment_view,
    timeliness,
)
from router.flow_control.limits import AdmissionLimits, TenantLimits
from router.outcome import Outcome
from router.request import NO_TARGETS, LatencyTargets

BOTH = LatencyTargets(ttft_s=1.0, tpot_s=0.05)


@pytest.mark.parametrize(
    ("targets", "first_s", "whole_s", "tokens", "how"),
    [
        (BOTH, 0.9, 0.9 + 0.05 * 99, 100, Timeliness.MET),
        (BOTH, 0.9, 0.9 + 0.06 * 99, 100, Timeliness.SLOW),
        (BOTH, 1.1, 1.2, 100, Timeliness.LATE),
        (BOTH, 0.9, 60.0, 1, Timeliness.MET),  # a single token has no time per token
        (BOTH, 0.9, 2.0, None, None),
        (LatencyTargets(ttft_s=1.0), 0.9, 60.0, None, Timeliness.MET),
        (LatencyTargets(tpot_s=0.05), 60.0, 60.09, 3, Timeliness.MET),
        # Not streamed: all comes at once, and is in time if its last token would have been.
        (BOTH, None, 1.0 + 0.05 * 99, 100, Timeliness.MET),
        (BOTH, None, 6.1, 100, Timeliness.LATE),
        (LatencyTargets(ttft_s=1.0), None, 0.5, 100, None),
        (BOTH, None, 0.5, None, None),
    ],
)
def test_an_answer_is_judged_by_both_latencies(
    targets: LatencyTargets, first_s: float | None, whole_s: float, tokens: int | None, how: Timeliness | None
) -> None:
    """Late counts before slow; what its targets say nothing of, or cannot be known, is not judged."""
    assert timeliness(targets, first_s, whole_s, tokens) is how


def test_windows_count_to_the_minute_and_memory_is_bounded() -> None:
    """The last five minutes do not contain what came before them, and nothing older than the longest window is kept."""
    attainment = Attainment()
    for minute in range(int(2 * LONGEST_S / BUCKET_S)):
        how = Timeliness.SLOW if minute % 2 else Timeliness.MET
        attainment.count("ann", how, minute * BUCKET_S)
    now_s = minute * BUCKET_S
    assert attainment.last(300.0, now_s) == Share(5, 2)
    assert attainment.last(LONGEST_S, now_s) == Share(360, 180)
    assert attainment.total == Share(720, 360)
    assert len(attainment._buckets) <= LONGEST_S / BUCKET_S + 2
    assert attainment.last(300.0, now_s + 3600.0) == Share(0, 0)


def test_the_burn_rate_is_what_is_missed_over_what_may_be() -> None:
    """At 95 % one request in twenty may be missed: one in ten burns twice as fast, none not at all."""
    assert Share(100, 90).burn_rate(0.95) == pytest.approx(2.0)
    assert Share(100, 100).burn_rate(0.95) == 0.0
    assert Share().burn_rate(0.95) == 0.0


def test_only_the_clusters_own_refusals_count() -> None:
    """A full queue or a dead replica is the cluster's doing; a used up rate or a client that left is not."""
    attainment = Attainment()
    for outcome in Outcome:
        attainment.refused("ann", BOTH, outcome, 0.0)
        attainment.refused("ann", NO_TARGETS, outcome, 0.0)
    assert attainment.counts == {("ann", Timeliness.FAILED): 7}


def test_a_tenants_own_objective_comes_before_the_models() -> None:
    """What a tenant's `slo` does not say, the model's says."""
    limits = AdmissionLimits(
        targets=LatencyTargets(2.0, 0.1),
        slo_share=0.9,
        tenants={"ann": TenantLimits(targets=LatencyTargets(tpot_s=0.02), slo_share=0.99), "bob": TenantLimits()},
    )
    assert limits.targets_of("ann") == LatencyTargets(2.0, 0.02)
    assert limits.targets_of("bob") is limits.targets
    assert (limits.share_of("ann"), limits.share_of("bob")) == (0.99, 0.9)


def test_the_view_tells_the_objective_and_what_was_missed() -> None:
    """A model without an objective, of which no request had one, tells none."""
    attainment = Attainment()
    assert attainment_view(AdmissionLimits(), attainment, 0.0) is None
    limits = AdmissionLimits(targets=LatencyTargets(ttft_s=1.0))
    attainment.count("ann", Timeliness.LATE, 10.0)
    attainment.count("bob", Timeliness.MET, 10.0)
    assert attainment_view(limits, attainment, 20.0) == {
        "ttft_s": 1.0,
        "tpot_s": None,
        "share": 0.95,
        "windows": {name: {"requests": 2, "met": 1} for name in ("5 min", "1 h", "6 h")},
        "missed": {"late": 1, "slow": 0, "failed": 0},
    }
    assert LatencyTargets(inf, inf) == NO_TARGETS
