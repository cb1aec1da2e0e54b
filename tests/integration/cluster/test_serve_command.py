"""`rackserve serve` and `serve run`, run as users run them.

Those that start a Ray of their own are `long`: `tests/e2e/test_one_replica.py` is the short form, with a real model.
"""

import json
import signal
from pathlib import Path

import httpx
import pytest
import yaml

import deployments.ray_api as ray_api
from tests.free_ports import free_port
from tests.integration.cluster.command import RACKSERVE, SERVE, Command, run
from tests.integration.cluster.running_application import wait_for
from tests.integration.helm.chart import ray_service, scenario


def cluster_file(folder: Path, name: str = "cli", **gateway: object) -> Path:
    """Write a cluster file of one sim model with two replicas on free ports."""
    data = {
        "cluster": {"name": name, "serve_port": free_port()},
        "gateway": {"host": "127.0.0.1", "port": free_port(), "admin_port": free_port(), **gateway},
        "models": [{"name": "m", "engine": "sim", "replicas": 2, "cpus": 2}],
    }
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def ask(url: str, model: str = "m") -> httpx.Response:
    """Ask a model once."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30.0)


@pytest.fixture
def own_ray(tmp_path_factory: pytest.TempPathFactory, ray_cluster: str) -> dict[str, str]:
    """Give the environment of a command that starts Ray itself: below the same folder as the tests' own cluster."""
    del tmp_path_factory, ray_cluster  # the fixture has set RAY_TMPDIR, which commands inherit
    return {}


@pytest.mark.long
@pytest.mark.parametrize("whole_group", [False, True])
def test_serve_runs_until_told_to_stop_and_leaves_nothing(
    tmp_path: Path, own_ray: dict[str, str], *, whole_group: bool
) -> None:
    """READY, answers, SIGTERM to it or to its whole process group, exit code 0, and no process of it left."""
    file = cluster_file(tmp_path)
    with Command(RACKSERVE, "serve", str(file), env=own_ray) as command:
        url = command.wait_for_line("READY ").removeprefix("READY ")
        assert url == f"http://127.0.0.1:{yaml.safe_load(file.read_text())['gateway']['port']}"
        assert ask(url).status_code == 200
        assert len(command.descendants()) > 5
        if whole_group:
            command.send_to_group(signal.SIGTERM)
        else:
            command.send(signal.SIGTERM)
        assert command.wait() == 0, command.output
        assert [process.name() for process in command.survivors()] == []
        assert "replicas ready: m 2/2" in command.output
        assert "Traceback" not in command.output
        with pytest.raises(httpx.ConnectError):
            ask(url)


@pytest.mark.long
def test_serve_can_be_interrupted_while_it_starts(tmp_path: Path, own_ray: dict[str, str]) -> None:
    """Ctrl-C before READY stops it just as cleanly."""
    file = cluster_file(tmp_path)
    with Command(RACKSERVE, "serve", str(file), env=own_ray) as command:
        wait_for("Ray's processes", lambda: len(command.descendants()) > 3)
        command.send(signal.SIGINT)
        command.descendants()
        command.wait()
        assert [process.name() for process in command.survivors()] == []
        assert "READY" not in command.output


def test_serve_joins_a_running_cluster_and_leaves_it_running(ray_cluster: str, tmp_path: Path) -> None:
    """With RAY_ADDRESS the application comes and goes on somebody else's cluster; `status` and `chat` find it there."""
    file = cluster_file(tmp_path, name="joined")
    env = {"RAY_ADDRESS": ray_cluster}
    with Command(RACKSERVE, "serve", str(file), env=env) as command:
        url = command.wait_for_line("READY ").removeprefix("READY ")
        assert "joined" in ray_api.application_names()
        answer = run(RACKSERVE, "chat", "hello", "--url", url, "--max-tokens", "5")
        assert answer.returncode == 0, answer.stderr
        assert "5 tokens out" in answer.stdout
        report = json.loads(run(RACKSERVE, "status", "--json", env=env).stdout)
        (found,) = [item for item in report["applications"] if item["name"] == "joined"]
        assert found["status"] == "RUNNING"
        assert found["gateways"][0]["ready"] is True
        assert len(found["models"]["m"]["replicas"]) == 2
        assert found["deployments"]["m"]["replicas"] == {"RUNNING": 2}
        table = run(RACKSERVE, "status", env=env).stdout
        assert "joined: RUNNING" in table
        assert found["models"]["m"]["replicas"][0]["replica_id"] in table
        command.send(signal.SIGINT)
        assert command.wait() == 0, command.output
    assert "joined" not in ray_api.application_names()
    assert not [name for name in ray_api.actor_names() if "joined" in name]
    assert ray_api.is_serve_running()


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path, own_ray: dict[str, str]) -> None:
    """Two clusters would silently share a port (SO_REUSEPORT): the second is refused, with the key to change."""
    file = cluster_file(tmp_path)
    spec = yaml.safe_load(file.read_text())
    with Command(RACKSERVE, "gateway", "--host", "127.0.0.1", "--port", str(spec["gateway"]["port"]),
                 "--admin-port", "0", "--replica", "127.0.0.1:1") as other:  # fmt: skip
        other.wait_for_line("READY ")
        refused = run(RACKSERVE, "serve", str(file), env=own_ray)
    assert refused.returncode == 1
    assert f"gateway.port: port {spec['gateway']['port']} is in use" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_model_that_cannot_start_is_told_in_one_message(tmp_path: Path, ray_cluster: str) -> None:
    """When replicas fail for good, the command says why and ends with exit code 1."""
    file = cluster_file(tmp_path)
    data = yaml.safe_load(file.read_text())
    data["models"][0] |= {"engine": "vllm", "source": "./no-such-folder", "replicas": 1}
    file.write_text(yaml.safe_dump(data))
    failed = run(RACKSERVE, "serve", str(file), env={"RAY_ADDRESS": ray_cluster}, timeout_s=200.0)
    assert failed.returncode == 1
    assert "no such folder" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.long
def test_serve_run_works_with_the_builder(tmp_path: Path, own_ray: dict[str, str]) -> None:
    """`serve run deployments.app:build file=…` starts the same cluster; Serve's own HTTP stays off the apps' port."""
    file = cluster_file(tmp_path)
    spec = yaml.safe_load(file.read_text())
    url = f"http://127.0.0.1:{spec['gateway']['port']}"
    with Command(SERVE, "run", "--name", "built", "deployments.app:build", f"file={file}", env=own_ray) as command:
        wait_for("the gateway is ready", lambda: is_ready(url))
        assert ask(url).status_code == 200
        assert httpx.get(f"http://127.0.0.1:{spec['cluster']['serve_port']}/-/healthz").status_code == 200
        command.descendants()
        command.send(signal.SIGINT)
        command.wait()
        assert [process.name() for process in command.survivors(15.0)] == []


def test_what_the_chart_renders_works_as_a_serve_config_file(ray_cluster: str, tmp_path: Path) -> None:
    """The chart's `serveConfigV2`, its spec inline, deploys through the builder, on the cluster RAY_ADDRESS names.

    Ports are free ones, and any node may have the gateways: there is one. The same on a Ray of its own, sent as KubeRay
    sends it: `tests/integration/helm/test_rendered_cluster_runs.py` (`long`).
    """
    config = yaml.safe_load(ray_service(scenario("sim"))["spec"]["serveConfigV2"])
    [application] = config["applications"]
    spec = application["args"]["spec"]
    del spec["gateway"]["node_labels"]
    spec["gateway"].update(host="127.0.0.1", port=free_port(), admin_port=free_port())
    config_file = tmp_path / "serve.yaml"
    config_file.write_text(yaml.safe_dump({"applications": [application]}))
    url = f"http://127.0.0.1:{spec['gateway']['port']}"
    with Command(SERVE, "run", str(config_file), env={"RAY_ADDRESS": ray_cluster}):
        try:
            wait_for("the gateway is ready", lambda: is_ready(url))
            models = [model["name"] for model in spec["models"]]
            assert len(models) == 2
            assert [ask(url, model).status_code for model in models] == [200, 200]
        finally:
            ray_api.delete_application(application["name"])


def is_ready(url: str) -> bool:
    """Tell whether a gateway there says it is ready."""
    try:
        return httpx.get(f"{url}/ready").is_success
    except httpx.HTTPError:
        return False
