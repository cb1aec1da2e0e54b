"""A short chaos; `make chaos` is the long one."""

import asyncio
from pathlib import Path

import pytest

from tests.chaos.run import Plan, bars, run
from tests.machine_speed import slowness


@pytest.mark.timeout(300)
def test_forty_seconds_of_faults_fail_no_request(tmp_path: Path) -> None:
    """Kills, stops, cut and garbled links, full disks, a jumping clock: answers are right, and nothing is left over."""
    seen = asyncio.run(run(tmp_path, Plan(seed=5, faults=1_000, seconds=40.0)))
    assert len({fault.kind for fault in seen.faults}) >= 8
    assert seen.verdict.ends["finished"] > 50
    for bar in bars(seen, least_faults=12, longest_stall_s=5.0 * slowness()):
        assert bar.holds, (bar, seen.verdict.worst, seen)
