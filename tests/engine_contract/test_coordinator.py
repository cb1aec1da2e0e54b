"""The process that vLLM's data-parallel ranks step together through: how it starts, and how it ends."""

import os
import signal
import time
from pathlib import Path

import pytest

from cluster.spec.model_spec import ModelSpec
from tests.engine_contract.expert_model import build
from tests.engine_contract.served_engine import START_TIMEOUT_S, ServedEngine
from tests.machine_speed import slowness

pytestmark = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(1200)]

STOPPED_S = 125.0
"""More than vLLM 0.32 gives it by itself, which is 120 s."""


def _spawned_by(pid: int) -> list[int]:
    """Return the processes that a process has spawned by `multiprocessing`."""
    children = [int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _runs(pid: int) -> bool:
    """Tell whether a process of vLLM's runs; Python's own trackers of shared memory end a little after the last."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z" and b"resource_tracker" not in command


def test_a_slow_coordinator_is_waited_for_and_none_outlives_its_replica(tmp_path: Path) -> None:
    """Stopped for longer than vLLM waits by itself, it is no failure; after the replica's SIGKILL it is gone, too."""
    model = ModelSpec.model_validate(
        {
            "name": "mixture",
            "source": str(build(tmp_path / "mixture")),
            "parallel": {"data": 2, "expert": 2},
            "gpus_per_replica": 0,
            "engine_args": {"dtype": "float32", "max_model_len": 512, "kv_cache_memory_bytes": 1 << 26},
        }
    )
    served = ServedEngine(model, tmp_path / "slow.log")
    try:
        give_up = time.monotonic() + START_TIMEOUT_S
        while not (spawned := _spawned_by(served.process.pid)):
            assert served.process.poll() is None, served.log.read_text()[-3000:]
            assert time.monotonic() < give_up
            time.sleep(0.01)
        (coordinator,) = spawned
        os.kill(coordinator, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        assert "Started DP Coordinator process" not in served.log.read_text(), coordinator
        os.kill(coordinator, signal.SIGCONT)
        served.wait_ready()
        assert f"Started DP Coordinator process (PID: {coordinator})" in served.log.read_text()
        assert served.complete("Hello", max_tokens=4)["usage"]["completion_tokens"] == 4
        running = [pid for pid in served.view("children") if _runs(pid)]
        assert coordinator in running
        served.process.kill()
        served.process.wait()
        give_up = time.monotonic() + 6 * slowness()
        while left := [pid for pid in running if _runs(pid)]:
            assert time.monotonic() < give_up, left
            time.sleep(0.1)
    finally:
        served.close()
