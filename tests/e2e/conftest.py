"""Where end-to-end tests ask: a gateway before the session's one vLLM, or a whole cluster (`long`).

The cluster is Ray, Serve, two replicas of the same model on vLLM and one gateway; it is started once for the folder.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from openai import OpenAI

from tests.engine_contract.contract_models import SIM, VLLM
from tests.engine_contract.served_engine import ServedEngine
from tests.free_ports import free_port
from tests.integration.cluster.command import RACKSERVE, Command
from tests.integration.trace_collector import TraceCollector

MODEL = VLLM.name
SIM_MODEL = "sim"
START_TIMEOUT_S = 300

CLUSTER_FILE = """
cluster: {{name: e2e}}
gateway: {{host: 127.0.0.1, port: {data}, admin_port: {admin}}}
models:
  - name: {model}
    source: {source}
    replicas: {replicas}
    cpus: 0.5
    policy: expected_ttft
    slo: {{ttft_s: 60, tpot_s: 5}}
    engine_args: {{dtype: float32, max_model_len: 8192, enable_auto_tool_choice: true, tool_call_parser: hermes}}
  - name: {sim_model}
    engine: sim
    replicas: 1
    cpus: 0.1
"""


@dataclass
class RunningGateway:
    """A gateway before real vLLM.

    Attributes:
        port: the apps' port.
        admin_port: the operators' port.
    """

    port: int
    admin_port: int

    @property
    def url(self) -> str:
        """Where apps connect."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> OpenAI:
        """Return an OpenAI client that does not retry: a retry would hide a failure."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=120)

    def state(self, admin_port: int = 0) -> dict[str, Any]:
        """Return the /state of the gateway, or of the one with another admin port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port or self.admin_port}/state", timeout=10) as answer:
            state: dict[str, Any] = json.load(answer)
            return state

    def replicas(self, model: str = MODEL) -> list[dict[str, Any]]:
        """Return the gateway's rows of a model's replicas."""
        rows: list[dict[str, Any]] = self.state()["models"][model]["replicas"]
        return rows


@dataclass
class RunningCluster(RunningGateway):
    """A whole cluster.

    Attributes:
        process: the `rackserve serve` process.
        file: its cluster file.
    """

    process: subprocess.Popen[str]
    file: Path

    def deploy(self, spec: dict[str, Any]) -> None:
        """Hand the running application another content of its cluster file."""
        changed = self.file.with_name("changed.yaml")
        changed.write_text(yaml.safe_dump(spec))
        children = [child.cmdline() for child in psutil.Process(self.process.pid).children()]
        addresses = [word for command in children for word in command if word.startswith("--gcs-address=")]
        ray_address = addresses[0].removeprefix("--gcs-address=")
        script = (
            "import sys; from pathlib import Path; from deployments import app, ray_api; "
            "from deployments.replica.read_spec import read_spec; ray_api.connect(sys.argv[1]); "
            "ray_api.deploy(app.compose(read_spec(Path(sys.argv[2]))), 'e2e')"
        )
        # In a process of its own: this one may be part of another test's Ray cluster.
        command = [sys.executable, "-c", script, ray_address, str(changed)]
        env = {**os.environ, "RAY_AUTH_MODE": "token"}  # as Ray does by itself for clusters it finds by itself
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr


def until(condition: Any, timeout_s: float, what: str) -> None:  # noqa: ANN401 - any callable
    """Wait until `condition()` is true; fail with `what` after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)


def cluster_file(folder: Path, replicas: int) -> tuple[Path, dict[str, int]]:
    """Write a cluster's file; returns it and the ports `data` and `admin` in it."""
    ports = {"data": free_port(), "admin": free_port()}
    file = folder / "rackserve.yaml"
    names = {"model": MODEL, "source": VLLM.source, "sim_model": SIM_MODEL}
    file.write_text(CLUSTER_FILE.format(**ports, **names, replicas=replicas))
    return file, ports


def tracing_to(collector: TraceCollector) -> dict[str, str]:
    """Return the environment of a command whose traces go to the collector soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
    }


@pytest.fixture(scope="package")
def collector() -> Iterator[TraceCollector]:
    """Collect every trace of the cluster."""
    with TraceCollector() as collector:
        yield collector


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory, collector: TraceCollector) -> Iterator[RunningCluster]:
    """Run `rackserve serve` until the folder's tests are done, then check that it stops cleanly."""
    folder = tmp_path_factory.mktemp("e2e")
    file, ports = cluster_file(folder, replicas=2)
    with (
        (folder / "serve.log").open("w") as log,
        subprocess.Popen(
            [str(Path(sys.executable).with_name("rackserve")), "serve", str(file)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | tracing_to(collector),
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_ready(process, folder)
            yield RunningCluster(ports["data"], ports["admin"], process, file)
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


@pytest.fixture(scope="package")
def client(cluster: RunningCluster) -> Iterator[OpenAI]:
    """Return an OpenAI client of the cluster."""
    with cluster.client() as client:
        yield client


@pytest.fixture(scope="package")
def gateway(vllm_engine: ServedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """Run `rackserve gateway` before the session's vLLM and a simulated engine of another name."""
    model = SIM.model_copy(update={"name": SIM_MODEL})
    sim = ServedEngine(model, tmp_path_factory.mktemp("e2e") / "sim.log")
    ports = free_port(), free_port()
    listen = ["--host", "127.0.0.1", "--port", str(ports[0]), "--admin-port", str(ports[1])]
    try:
        replicas = [part for engine in (vllm_engine, sim.wait_ready()) for part in ("--replica", engine.url)]
        with Command(RACKSERVE, "gateway", *listen, *replicas) as command:
            command.wait_for_line("READY ")
            yield RunningGateway(*ports)
            command.send(signal.SIGTERM)
            assert command.wait() == 0, command.output
    finally:
        sim.close()


@pytest.fixture(
    scope="package",
    params=["gateway", pytest.param("cluster", marks=[pytest.mark.ray, pytest.mark.long])],
)
def entrance(request: pytest.FixtureRequest) -> RunningGateway:
    """Where apps connect: the SDK's promises hold at a gateway alone and at a whole cluster."""
    found: RunningGateway = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="package")
def sdk(entrance: RunningGateway) -> Iterator[OpenAI]:
    """Return an OpenAI client of the entrance."""
    with entrance.client() as client:
        yield client
