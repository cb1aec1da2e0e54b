"""The autoscaling benchmark in its short form: its bars hold on parts of its loads, and a run repeats to the digit."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.server_process import ROOT


def test_ours_serves_more_in_time_for_fewer_gpu_hours(tmp_path: Path) -> None:
    """On a step and on bursts our policy beats Ray Serve's on both numbers; table, JSON and plot are there."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_autoscaling", "--short", "--loads", "step,bursts"]
    results = []
    for run in ("one", "two"):
        ran = subprocess.run(
            [*command, "--results", str(tmp_path / run)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.count("BAR ") == ran.stdout.count(" ok\n") == 4
        results.append(json.loads((tmp_path / run / "bench-autoscaling.json").read_text()))
    assert results[0]["loads"] == results[1]["loads"]
    for load in results[0]["loads"].values():
        contestants = load["contestants"]
        assert set(contestants) == {"fixed_peak", "rackserve", "serve_tuned"}
        assert contestants["fixed_peak"]["slo_share"] > 0.99
        assert contestants["rackserve"]["gpu_hours"] < contestants["fixed_peak"]["gpu_hours"]
    assert (tmp_path / "one" / "bench-autoscaling.png").stat().st_size > 10_000
