"""The gateway benchmark in its short form: a smoke test of harness and gateway, not of any figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.server_process import ROOT

SCENARIOS = {
    "request_40_words",
    "request_2000_words",
    "latency",
    "stream_saturated",
    "stream_steps",
    "stream_trickle",
}


@pytest.mark.long
def test_quick_run_measures_our_gateway_in_every_scenario(tmp_path: Path) -> None:
    """Every scenario runs, every answer is exactly what the engines sent (else it exits 1), and all is written down."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.bench_gateway", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "BAR gateway_rss_growth" in ran.stdout
    result = json.loads((tmp_path / "bench-gateway.json").read_text())
    assert set(result["scenarios"]) == SCENARIOS
    for name, scenario in result["scenarios"].items():
        ours = scenario["contestants"]["rackserve"]
        assert ours["cpu"]["median"] > 0, name
        assert ours["rate"]["median"] > 0, name
    assert result["machine"]["cores"] >= 2
    assert (tmp_path / "bench-gateway.png").stat().st_size > 1000
