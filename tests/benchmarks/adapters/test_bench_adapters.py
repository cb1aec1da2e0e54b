"""The benchmark of adapters, in its short form."""

from cluster.spec.model_parts.sim_spec import SimSpec
from tests.benchmarks.adapters.adapter_fleet import AdapterFleet, Outcomes
from tests.benchmarks.adapters.skewed_load import SkewedLoad

LOAD = SkewedLoad(requests_per_s=6.0, seconds=120.0)


def _run(policy: str) -> Outcomes:
    return AdapterFleet(policy, 4, 4, LOAD.names(), SimSpec(), 1).run(LOAD.requests(1))


def test_adapters_stay_where_they_are_loaded() -> None:
    """Two minutes of skewed use: at most half the loads of routing by load alone, and first tokens much sooner."""
    ours, baseline = _run("expected_ttft"), _run("least_load")
    assert len(ours.ttft_s) == len(baseline.ttft_s) == len(LOAD.requests(1))
    assert ours.loads <= 0.5 * baseline.loads
    assert ours.mean_ttft_s <= 0.7 * baseline.mean_ttft_s


def test_a_run_can_be_repeated() -> None:
    """The same seed gives the same figures, to the last digit."""
    assert _run("expected_ttft") == _run("expected_ttft")
