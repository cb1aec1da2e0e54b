"""Whether Ray's head runs is looked up in the machine's own processes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deployments.launch.ray_up import IS_AWAY, LOOK_FOR_HEAD


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs processes of its own: root")
def test_a_head_that_does_not_run_is_seen(tmp_path: Path) -> None:
    """Without Ray's control service the command says so; with it, it says nothing."""
    service = tmp_path / "gcs_server"
    shutil.copy(str(shutil.which("sleep")), service)
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"]

    def said(command: str) -> str:
        return subprocess.run([*apart, command], capture_output=True, text=True, timeout=30, check=True).stdout

    assert said(LOOK_FOR_HEAD) == f"{IS_AWAY}\n"
    assert said(f"{service} 20 & sleep 0.2; {LOOK_FOR_HEAD}") == ""
