"""One real cluster for all end-to-end tests: Ray, Serve, two replicas of a real model on vLLM, one gateway."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

MODEL = "smollm2"
START_TIMEOUT_S = 300

CLUSTER_FILE = """
cluster: {{name: e2e, serve_port: {serve}}}
gateway: {{host: 127.0.0.1, port: {data}, admin_port: {admin}}}
models:
  - name: smollm2
    source: smollm2-135m-instruct
    replicas: 2
    cpus: 0.5
    policy: {policy}
    engine_args: {{max_model_len: 8192, enable_auto_tool_choice: true, tool_call_parser: hermes}}
  - name: sim
    engine: sim
    replicas: 1
    cpus: 0.1
"""


@dataclass
class RunningCluster:
    """A cluster under test.

    Attributes:
        process: the `rackserve serve` process.
        port: the apps' port.
        admin_port: the operators' port.
    """

    process: subprocess.Popen[str]
    port: int
    admin_port: int

    @property
    def url(self) -> str:
        """Where apps connect."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> OpenAI:
        """Return an OpenAI client that does not retry: a retry would hide a failure."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=120)

    def state(self) -> dict[str, Any]:
        """Return the gateway's /state."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/state", timeout=10) as answer:
            state: dict[str, Any] = json.load(answer)
            return state

    def replicas(self, model: str = MODEL) -> list[dict[str, Any]]:
        """Return the gateway's rows of a model's replicas."""
        rows: list[dict[str, Any]] = self.state()["models"][model]["replicas"]
        return rows


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(condition: Any, timeout_s: float, what: str) -> None:  # noqa: ANN401 - any callable
    """Wait until `condition()` is true; fail with `what` after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """Run `rackserve serve` until the session ends, then check that it stops cleanly."""
    folder = tmp_path_factory.mktemp("e2e")
    ports = {"data": free_port(), "admin": free_port(), "serve": free_port()}
    file = folder / "rackserve.yaml"
    file.write_text(CLUSTER_FILE.format(**ports, policy="expected_ttft"))
    with (
        (folder / "serve.log").open("w") as log,
        subprocess.Popen(
            [str(Path(sys.executable).with_name("rackserve")), "serve", str(file)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_ready(process, folder)
            yield RunningCluster(process, ports["data"], ports["admin"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, "rackserve serve did not stop cleanly"
        finally:
            if process.poll() is None:
                process.kill()


def _wait_ready(process: subprocess.Popen[str], folder: Path) -> None:
    assert process.stdout is not None
    deadline_s = time.monotonic() + START_TIMEOUT_S
    for line in process.stdout:
        if line.startswith("READY "):
            return
        assert time.monotonic() < deadline_s, "no READY in time"
    pytest.fail(f"rackserve serve ended before READY:\n{(folder / 'serve.log').read_text()[-4000:]}")


@pytest.fixture(scope="session")
def client(cluster: RunningCluster) -> Iterator[OpenAI]:
    """Return an OpenAI client of the cluster."""
    with cluster.client() as client:
        yield client
