"""The manners of the processes vLLM starts, tried on plain ones."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.engines.vllm.processes.engine_process import FAILURE_FILE, FailureNote, end_with_parent

ROOT = Path(__file__).resolve().parents[5]

PARENT = """
import multiprocessing, sys, time
from pathlib import Path

def child(stubborn):
    import os, signal
    from deployments.engines.vllm.processes.engine_process import end_with_parent
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end_with_parent()
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child, args=(sys.argv[2] == "stubborn",)).start()
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("manner", ["meek", "stubborn"])
def test_a_child_ends_with_its_parent(tmp_path: Path, manner: str) -> None:
    """When the parent is killed, the child ends within seconds, even one that ignores SIGTERM."""
    program, told = tmp_path / "parent.py", tmp_path / "pid"
    program.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(program), str(told), manner], env={"PYTHONPATH": str(ROOT)})
    try:
        give_up = time.monotonic() + 30
        while not told.exists() or not told.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.02)
        child = int(told.read_text())
        assert alive(child)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    give_up = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_nobodys_child_is_left_alone() -> None:
    """In a process that multiprocessing did not start, there is no parent to end with."""
    assert multiprocessing.parent_process() is None
    end_with_parent()


def test_a_failure_leaves_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the engine logs as the reason of its failure is found where the replica looks."""
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "failure"))
    logger = logging.getLogger("test_a_failure_leaves_word")
    logger.addHandler(FailureNote(logging.ERROR))
    logger.error("something without an exception")
    assert not os.path.lexists(tmp_path / "failure")
    failure = ValueError("no memory for 8192 tokens")
    logger.error("EngineCore failed to start.", exc_info=failure)
    assert (tmp_path / "failure").read_text() == "ValueError: no memory for 8192 tokens"


def test_an_engine_without_its_side_channel_ends(tmp_path: Path) -> None:
    """When the thread that listens for other engines fails, the process ends and says why; vLLM would wait for ever."""
    program = (
        "import threading, time\n"
        "from deployments.engines.vllm.processes.engine_process import SIDE_CHANNEL_THREAD, settle_in\n"
        "settle_in()\n"
        "def listen():\n"
        "    raise OSError('address already in use')\n"
        "threading.Thread(target=print, name='another').start()\n"
        "threading.Thread(target=listen, name=SIDE_CHANNEL_THREAD).start()\n"
        "time.sleep(60)\n"
    )
    failure = tmp_path / "failure"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {FAILURE_FILE: str(failure)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert "address already in use" in ended.stderr
    assert failure.read_text() == "the KV connector's side channel ended: address already in use"
