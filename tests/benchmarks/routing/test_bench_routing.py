"""The routing benchmark in its short form: a smoke test of the harness, and the seeded load it sends to engines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from router.scheduling.registry import POLICIES
from tests.benchmarks.routing.grouped_chats import ChatLoad
from tests.benchmarks.server_process import ROOT
from tests.data_files import MOONCAKE_TRACE


@pytest.mark.long
@pytest.mark.skipif(MOONCAKE_TRACE.found() is None, reason=MOONCAKE_TRACE.why_skipped)
def test_replay_compares_every_policy_and_repeats_to_the_digit(tmp_path: Path) -> None:
    """A part of the trace goes through every policy; ours twice, with equal figures; table, JSON and plot are there."""
    command = [sys.executable, "-m", "tests.benchmarks.routing.bench_routing", "--part", "trace", "--limit", "800"]
    ran = subprocess.run(
        [*command, "--results", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "BAR replay_figures_not_repeated 0 <= 0 ok" in ran.stdout
    result = json.loads((tmp_path / "bench-routing.json").read_text())
    assert set(result["replay"]) == set(POLICIES)
    for name, figures in result["replay"].items():
        assert figures["requests"] == 800, name
        assert 0.0 < figures["hit_ratio"] <= figures["ideal_hit_ratio"], name
        assert figures["imbalance"] >= 1.0, name
    ours, baseline = result["replay"]["expected_ttft"], result["replay"]["round_robin"]
    assert ours["hit_ratio"] > baseline["hit_ratio"]
    assert ours["ttft_mean_s"] < baseline["ttft_mean_s"]
    assert result["engines"] is None
    assert (tmp_path / "bench-routing.png").stat().st_size > 1000


def test_chats_are_seeded_and_groups_share_their_system_prompt_alone() -> None:
    """One seed gives the same chats, another gives others; 24 chats have 12 system prompts and 96 own questions."""
    chats = ChatLoad(seed=3).openings()
    assert chats == ChatLoad(seed=3).openings()
    systems = [system for system, _ in chats]
    assert len(chats) == 24
    assert all(systems.count(system) == 2 for system in systems)
    assert len(set(systems)) == 12
    questions = [question for _, own in chats for question in own]
    assert len(set(questions)) == len(questions) == 96
    assert not set(systems) & {system for system, _ in ChatLoad(seed=4).openings()}
