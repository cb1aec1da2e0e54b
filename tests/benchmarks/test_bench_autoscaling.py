"""The autoscaling benchmark: its bars hold on a step, its figures repeat to the digit, and its command writes them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.autoscaling_cases import Case, loads, sized
from tests.benchmarks.autoscaling_contest import Outcome, bars, contest, figures
from tests.benchmarks.server_process import ROOT

SEED = 1


def held(case: Case) -> Outcome:
    """Run our autoscaler and Serve's on a load."""
    return contest(case, lambda _: None, short=True)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """What came of a step of load."""
    return held(sized("step", loads(SEED, short=True)["step"]))


def test_ours_serves_more_in_time_for_fewer_gpu_hours(outcome: Outcome) -> None:
    """On a step our autoscaler beats Ray Serve's on both numbers, and a fleet of the peak's size on GPU-hours."""
    assert [bar.name for bar in bars(outcome) if not bar.holds] == []
    contestants = figures(outcome)["contestants"]
    assert set(contestants) == {"fixed_peak", "rackserve", "serve_tuned"}
    assert contestants["fixed_peak"]["slo_share"] > 0.99
    assert contestants["rackserve"]["gpu_hours"] < contestants["fixed_peak"]["gpu_hours"]


def test_the_same_seed_gives_the_same_figures(outcome: Outcome) -> None:
    """The load is the same, and so is what comes of it, to the digit; another seed draws another load."""
    assert loads(SEED, short=True)["step"] == outcome.case.requests != loads(SEED + 1, short=True)["step"]
    assert figures(held(outcome.case)) == figures(outcome)


@pytest.mark.long
def test_the_command_shows_and_writes_what_came_of_it(tmp_path: Path) -> None:
    """On bursts: a line for each bar, JSON, and a plot."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_autoscaling", "--short", "--loads", "bursts"]
    ran = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("BAR ") == ran.stdout.count(" ok\n") == 2
    assert set(json.loads((tmp_path / "bench-autoscaling.json").read_text())["loads"]) == {"bursts"}
    assert (tmp_path / "bench-autoscaling.png").stat().st_size > 10_000
