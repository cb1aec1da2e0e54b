"""Engines' temporary folders: whose owner was killed, and only those, go with the next start."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deployments.engines.engine_folder import EngineFolder, remove_abandoned

ROOT = Path(__file__).resolve().parents[4]

OWNER = """
import os, sys, time
from deployments.engines.engine_folder import EngineFolder
folder = EngineFolder()
(folder.path / "kv-events").write_text("")
child = os.fork() if sys.argv[1] == "forks" else -1
if child:
    print(folder.path, child, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def owner(tmp_path: Path, manner: str) -> tuple[subprocess.Popen[str], Path, int]:
    """Start a process that owns a folder; returns it, the folder, and the id of its fork."""
    command = [sys.executable, "-c", OWNER, manner]
    env = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path, child = process.stdout.readline().split()
    return process, Path(path), int(child)


def test_what_a_killed_engine_left_goes_with_the_next_start(tmp_path: Path) -> None:
    """While its owner lives a folder stays; once that was killed, it goes with all that is in it."""
    process, folder, _ = owner(tmp_path, "plain")
    try:
        assert remove_abandoned() == []
        assert (folder / "kv-events").exists()
    finally:
        process.kill()
        process.communicate()
    own = EngineFolder()
    (tmp_path / "rackserve-vllm-being-made").mkdir()
    (tmp_path / "other").mkdir()
    assert remove_abandoned() == [folder]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["other", "rackserve-vllm-being-made", own.path.name]
    )
    own.remove()
    own.remove()
    assert not own.path.exists()


def test_an_engine_process_that_still_ends_keeps_its_folder(tmp_path: Path) -> None:
    """A folder is used until the last process that its owner forked is gone too."""
    process, folder, child = owner(tmp_path, "forks")
    process.kill()
    process.wait()
    try:
        assert remove_abandoned() == []
    finally:
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(child)], check=True)
        process.communicate()  # its output ends with the last process that has it
    assert remove_abandoned() == [folder]
