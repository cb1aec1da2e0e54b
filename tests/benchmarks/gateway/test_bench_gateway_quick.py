"""The gateway benchmark in its short form: a smoke test of harness and gateway, not of any figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.gateway.shapes import LATENCY, MEMORY, QUICK
from tests.benchmarks.server_process import ROOT


@pytest.mark.long
def test_quick_run_measures_our_gateway(tmp_path: Path) -> None:
    """Each shape of it runs, every answer is what the engines sent (else it exits 1), and all is written down."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gateway.bench_gateway", "--quick", "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "BAR gateway_rss_growth" in ran.stdout
    result = json.loads((tmp_path / "bench-gateway.json").read_text())
    assert set(result["shapes"]) == set(QUICK) - {MEMORY}
    for name, shape in result["shapes"].items():
        for who in ("interpreted", "least-load", "told-usage", "bare-proxy"):
            if name != LATENCY:
                assert shape["contestants"][who]["cpu"]["min"] > 0, name
            assert shape["contestants"][who]["rate"]["median"] > 0, name
    assert result["machine"]["cores"] >= 2
    assert (tmp_path / "bench-gateway.png").stat().st_size > 1000
