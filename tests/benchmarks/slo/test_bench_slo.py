"""The benchmark of service level objectives: on an hour of bursts, ours has more in time than the rule without one."""

import pytest

from tests.benchmarks.slo.bench_slo import OURS, TODAY, bars, contest, figures
from tests.benchmarks.slo.slo_cases import BAR_SHARE, SHARE, loads, sized


@pytest.mark.timeout(300)
def test_told_of_the_objective_more_requests_are_in_time() -> None:
    """One fixed fleet is the smallest that reaches the bar's share; the figures name each of both latencies."""
    said: list[str] = []
    case = sized("bursts", loads(1, short=True)["bursts"], said.append)
    told = figures(case, contest(case, 1))
    rows = told["contestants"]
    assert rows["fixed_smallest"]["in_time"] >= BAR_SHARE
    assert any(f" {case.smallest_replicas - 1} fixed replicas have 0.9" in line for line in said), said
    assert rows["knows_bursts"]["in_time"] >= BAR_SHARE
    assert rows["knows_bursts"]["gpu_hours"] < rows["fixed_smallest"]["gpu_hours"]
    assert rows[OURS]["in_time"] > rows[TODAY]["in_time"]
    assert rows[OURS]["tpot_in_time"] > SHARE
    assert [bar.name for bar in bars("bursts", told)] == ["slo_bursts_in_time", "slo_bursts_gpu_hours_of_peak"]
