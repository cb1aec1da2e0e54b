"""A Ray cluster that a process of ours starts: what it leaves behind, who can join it, which ports it takes."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.cluster.command import RACKSERVE, run

OF_ITS_OWN = """
import sys
import deployments.ray_api as ray_api
ray_api.start_local(1)
ray_api.start_serve(0, "127.0.0.1")
print(ray_api.address(), ray_api.serve_http_port(), flush=True)
sys.stdin.read()
"""


@pytest.mark.ray
@pytest.mark.timeout(120)
def test_a_cluster_of_ours_leaves_rays_own_token_alone_and_port_8000_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command of the same user joins by our token, another user's is refused in words, within seconds.

    No `~/.ray/auth_token` stays behind, which would make the user's next `ray start --head` ask for it. A Serve without
    HTTP has no port, whatever its unused options say: 8000, the apps' default.
    """
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        monkeypatch.delenv(name)  # those of the cluster that this process's earlier tests use
    home = tmp_path / "home"
    with tempfile.TemporaryDirectory(prefix="rackserve-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        env = {"HOME": str(home), "RAY_TMPDIR": folder}
        started = [sys.executable, "-c", OF_ITS_OWN]
        with subprocess.Popen(
            started, env=os.environ | env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                address, port = process.stdout.readline().split()
                ours = run(RACKSERVE, "status", "--address", address, env=env)
                wrong = run(RACKSERVE, "status", "--address", address, env=env | {"HOME": "/nowhere"})
                # A login shell that says "token" or "disabled" does not decide about a cluster that is joined.
                told = run(RACKSERVE, "status", "--address", address, env=env | {"RAY_AUTH_MODE": "disabled"})
            finally:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60)
    assert port == "0"
    assert not (home / ".ray").exists()
    token = home / ".rackserve" / "ray_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert "no RackServe on the Ray cluster" in ours.stderr
    assert "no RackServe on the Ray cluster" in told.stderr
    assert "wants a token, and there is none" in wrong.stderr
