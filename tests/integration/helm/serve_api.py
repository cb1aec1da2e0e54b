"""A real Ray cluster with its dashboard, to which a Serve config is sent as KubeRay's operator sends it."""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.free_ports import free_port

HEAD_LABELS = {"rackserve.io/role": "gateway"}
"""The one node of the test is a gateways' node too, so that a rendered config finds its place as it is."""
READY_S = 180.0

_RAY = """
import json, sys, ray
port, labels = int(sys.argv[1]), json.loads(sys.argv[2])
ray.init("local", num_cpus=16, labels=labels, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=port,
         object_store_memory=100_000_000, log_to_driver=False, namespace="rackserve")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


class ServeApi:
    """Serve's REST API on Ray's dashboard, as KubeRay's operator uses it.

    Args:
        url: the dashboard's.
        token: Ray's, which the operator has from its Secret.
        env: of a process inside the pod.

    Attributes:
        env: likewise.
    """

    def __init__(self, url: str, token: str, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self._url = f"{url}/api/serve/applications/"
        self._headers = {"authorization": f"Bearer {token}"}

    def apply(self, config: str) -> None:
        """Send a `serveConfigV2`: the operator turns it into JSON and PUTs it."""
        body = yaml.safe_load(config)
        httpx.put(self._url, json=body, headers=self._headers, timeout=60.0).raise_for_status()

    def run_in_pod(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ours as `kubectl exec` would, or a `preStop` hook."""
        program = str(Path(sys.executable).parent / command[0])
        return subprocess.run(
            [program, *command[1:]], env=self.env, capture_output=True, text=True, timeout=90.0, check=False
        )

    def details(self) -> dict[str, Any]:
        """Return what Serve says of all applications."""
        answer = httpx.get(self._url, headers=self._headers, timeout=10.0).raise_for_status()
        applications: dict[str, Any] = answer.json()["applications"]
        return applications

    def wait_until_running(self, application: str, replicas: Mapping[str, int]) -> None:
        """Wait until the application runs with exactly so many running replicas of each deployment.

        Raises:
            AssertionError: it failed, or did not in time.
        """
        deadline_s = time.monotonic() + READY_S
        while True:
            found = self.details().get(application, {"status": "MISSING", "deployments": {}})
            assert found["status"] != "DEPLOY_FAILED", json.dumps(found, indent=1)[:5000]
            running = {name: self._running(deployment) for name, deployment in found["deployments"].items()}
            states = {deployment["status"] for deployment in found["deployments"].values()}
            if found["status"] == "RUNNING" and running == replicas and states == {"HEALTHY"}:
                return
            assert time.monotonic() < deadline_s, f"{found['status']}: {running}, wanted {replicas}"
            time.sleep(0.2)

    def replica_ids(self, application: str, deployment: str) -> set[str]:
        """Return the ids of a deployment's running replicas."""
        return {row["replica_id"] for row in self._rows(application, deployment) if row["state"] == "RUNNING"}

    def replicas_by_node(self, application: str, deployment: str) -> Counter[str]:
        """Return how many replicas of a deployment run on each node, by Ray's id of it."""
        return Counter(row["node_id"] for row in self._rows(application, deployment) if row["state"] == "RUNNING")

    def _rows(self, application: str, deployment: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.details()[application]["deployments"][deployment]["replicas"]
        return rows

    @staticmethod
    def _running(deployment: Mapping[str, Any]) -> int:
        """Return how many replicas run, or -1 while there are others."""
        states = [row["state"] for row in deployment["replicas"]]
        return len(states) if set(states) <= {"RUNNING"} else -1


@contextlib.contextmanager
def ray_with_dashboard() -> Iterator[ServeApi]:
    """Run a Ray head with its dashboard in a process of its own; everything it started ends with it."""
    port = free_port()
    folder = tempfile.mkdtemp(prefix="rackserve-", dir="/tmp")
    # As in a pod of a RayService: the token is in the environment, and Serve's controller waits 5 s for Ray's head.
    token = secrets.token_hex(16)
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_SERVE_KV_TIMEOUT_S": "5"}
    env = {**os.environ, **settings, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    env.pop("RAY_ADDRESS", None)
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[3]), env.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-c", _RAY, str(port), json.dumps(HEAD_LABELS)]
    with (Path(folder) / "driver.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, (Path(folder) / "driver.log").read_text()[-3000:]
            yield ServeApi(f"http://127.0.0.1:{port}", token, {**env, "RAY_ADDRESS": address})
        finally:
            process.stdin.close()
            try:
                process.wait(60.0)
            finally:
                process.kill()
                process.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)
