"""The placement benchmark in its short form."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.model_shapes.known_models import KNOWN_CONFIGS
from tests.benchmarks.server_process import ROOT


@pytest.mark.long
def test_every_figure_is_there_and_every_bar_is_named(tmp_path: Path) -> None:
    """Placement at three sizes and three kinds of domain, each known model planned, each published row predicted."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_placement", "--quick", "--results", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads((tmp_path / "bench-placement.json").read_text())
    assert {(each["domains"], each["nodes"]) for each in result["placement"]} == {
        (domains, nodes) for domains in ("nvl72", "box", "flat") for nodes in (10, 100, 1000)
    }
    assert all(each["placed"] == each["gangs"] for each in result["placement"] if each["nodes"] == 1000)
    assert set(result["planner"]) == set(KNOWN_CONFIGS)
    assert all(each["gpus"] for each in result["planner"].values())
    assert len(result["mlperf_offline"]) == 10
    bars = [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("BAR ")]
    assert bars == [
        "placement_1000_nodes_200_gangs_nvl72_cpu_s",
        "placement_1000_nodes_200_gangs_box_cpu_s",
        "placement_1000_nodes_200_gangs_flat_cpu_s",
        "mlperf_offline_median_error",
        "mlperf_offline_largest_error",
    ]
