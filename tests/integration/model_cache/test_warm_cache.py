"""An application's nodes download what may run there, on a Ray cluster of this machine, from a hub of this machine."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import deployments.ray_api as ray_api
from cluster.spec import cluster_file
from cluster.spec.cluster_spec import ClusterSpec
from deployments.launch.application import Launch
from deployments.model_cache.warmer import actor_name, lines_of, start_warmer, states_now, stop_warmer, wait_until_warm
from tests.free_ports import free_ports
from tests.local_hub import LocalHub, local_hub

pytest.importorskip("huggingface_hub")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 40_000}
"""10 MB: ten seconds of download, so that it is told while it goes on."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """Give a hub, which processes of a Ray that is started now know, and an empty cache."""
    if ray_api.is_connected():
        ray_api.disconnect()  # from the cluster of other tests, if they came before: a process has one
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with local_hub(FILES, bytes_per_s=1e6) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        try:
            yield made
        finally:
            if ray_api.is_connected():
                ray_api.disconnect()


def file_with(*models: str) -> ClusterSpec:
    """Return a cluster file with these models, which need no GPU."""
    text = "".join(f"- {{name: {name.replace('/', '-')}, source: {name}, gpus_per_replica: 0}}\n" for name in models)
    return cluster_file.load(f"cluster: {{name: warmed, warm_cache: true}}\nmodels:\n{text}", "f")


def test_nodes_have_what_may_run_there_before_it_starts(hub: LocalHub, tmp_path: Path) -> None:
    """Waiting ends when all is there, with progress in bytes; a model that the file gets later is downloaded, too.

    What cannot be had is told with the node and the reason, and keeps nobody waiting. A warmer that dies begins again.
    """
    said: list[str] = []
    ray_api.start_local(2.0)
    start_warmer(file_with("org/tiny"))
    wait_until_warm("warmed", said.append, lambda: False)
    assert said[-1] == "weights of org/tiny: on 1 of 1 machines"
    assert any("1 downloading (" in line and "of 0.0 GB)" in line for line in said), said
    assert (tmp_path / "hub" / "models--org--tiny" / "refs" / "main").is_file()

    start_warmer(file_with("org/tiny", "org/none"))
    wait_until_warm("warmed", said.append, lambda: False)
    lines = lines_of(states_now("warmed"))
    assert lines[:2] == ["weights of org/tiny: on 1 of 1 machines", "weights of org/none: on 0 of 1 machines"]
    assert lines[2].startswith(f"weights of org/none: not on {ray_api.node_address()}: ")
    assert "there is no model 'org/none'" in lines[2]
    assert hub.fetched.count("model.safetensors") == 1

    shutil.rmtree(tmp_path / "hub")
    ray_api.kill_actor(actor_name("warmed"), restart=True)
    deadline_s = time.monotonic() + 90.0
    while not (
        tmp_path / "hub" / "models--org--tiny" / "refs" / "main"
    ).is_file():  # asked of the disk, not of the actor
        assert time.monotonic() < deadline_s
        time.sleep(0.5)
    stop_warmer("warmed")
    assert states_now("warmed") == {}


def test_an_application_is_deployed_once_its_nodes_are_warm(hub: LocalHub, tmp_path: Path) -> None:
    """`start` tells how far they are and returns with all there; `stop` leaves no warmer behind, and no wish."""
    ports = free_ports(2)
    gateway = f"gateway: {{host: 127.0.0.1, port: {ports[0]}, admin_port: {ports[1]}}}\n"
    cluster = "cluster: {name: warmed, warm_cache: true}\n"
    model = "models: [{name: m, source: org/tiny, gpus_per_replica: 0, replicas: {min: 0, max: 1}}]"
    launch = Launch(cluster_file.load(cluster + gateway + model, "f"))
    said: list[str] = []
    try:
        launch.start(report=said.append)
        assert said[-1] == "weights of org/tiny: on 1 of 1 machines"
        assert (tmp_path / "hub" / "models--org--tiny" / "refs" / "main").is_file()
        assert ray_api.application_state("warmed") is not None
    finally:
        launch.stop()
    assert hub.fetched.count("model.safetensors") == 1
