"""LoRA adapters of a running application on Ray: added, listed and removed as operators do, under load."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

import deployments.ray_api as ray_api
from deployments.launch.application import Launch
from deployments.launch.running_spec import running_spec
from tests.integration.cluster.command import RACKSERVE, run
from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for
from tests.integration.cluster.test_failures import listener

BASE = {
    "name": "adapted",
    "replicas": 2,
    "adapters": [{"name": "sql", "source": "org/sql"}],
    "adapter_slots": 2,
    "sim": {"inter_token_s": 0.002, "adapter_load_s": 0.05},
}


@pytest.fixture(scope="module")
def launched(ray_cluster: str) -> Iterator[RunningApplication]:
    """Two replicas with one adapter, and a model without room for any."""
    spec = sim_spec(BASE, {"name": "plain"}, name="adapters")
    launch = Launch(spec, ray_cluster)
    application = RunningApplication(spec)
    try:
        launch.start()
        application.wait_until_ready()
        yield application
    finally:
        application.delete()


@contextmanager
def _under_load(application: RunningApplication, *models: str) -> Iterator[None]:
    """Ask models without a pause; when the block ends, no request may have failed."""
    loads = [Load(application.url, model, clients=2) for model in models]
    try:
        yield
        for load in loads:
            load.more(10)
    finally:
        for load in loads:
            load.stop()
    assert [failure for load in loads for failure in load.failures] == []


def _adapters(*words: str, address: str) -> CompletedProcess[str]:
    return run(RACKSERVE, "adapters", *words, "--address", address, timeout_s=180.0)


def _listed(address: str) -> dict[str, dict[str, Any]]:
    rows = json.loads(_adapters("list", "--json", address=address).stdout)
    return {row["adapter"]: row for row in rows}


def test_adapters_come_and_go_under_load(launched: RunningApplication, ray_cluster: str) -> None:
    """Added: served by all replicas when the command returns; removed: 404. No request fails, no replica restarts."""
    before = {row.replica_id for row in launched.replicas("adapted")}
    with _under_load(launched, "adapted", "sql"):
        added = _adapters("add", "poet", "org/poet", "--model", "adapted", address=ray_cluster)
        assert added.returncode == 0, added.stderr
        assert "poet: served by all replicas of adapted" in added.stderr
        answer = launched.chat("poet")
        assert (answer.status_code, answer.json()["model"]) == (200, "poet")
        rows = {row["id"]: row["parent"] for row in httpx.get(f"{launched.url}/v1/models").json()["data"]}
        assert rows == {"adapted": None, "plain": None, "sql": "adapted", "poet": "adapted"}
        assert set(_listed(ray_cluster)) == {"sql", "poet"}
        assert _listed(ray_cluster)["poet"]["loaded"]
        kept = running_spec(launched.name)
        assert kept is not None
        assert [adapter.name for adapter in kept.model("adapted").adapters] == ["sql", "poet"]
        removed = _adapters("remove", "poet", "--model", "adapted", address=ray_cluster)
        assert removed.returncode == 0, removed.stderr
        wait_for("404", lambda: launched.chat("poet").status_code == 404)
    assert {row.replica_id for row in launched.replicas("adapted")} == before


def test_an_adapter_outlives_its_replicas(launched: RunningApplication, ray_cluster: str) -> None:
    """A replica that comes in place of a killed one serves what was added before it began."""
    assert _adapters("add", "tutor", "org/tutor", "--model", "adapted", address=ray_cluster).returncode == 0
    rows = launched.replicas("adapted")
    victims = {row.replica_id for row in rows}
    for row in rows:
        listener(row.http_port).kill()
    wait_for("two new replicas", lambda: len({r.replica_id for r in launched.replicas("adapted")} - victims) == 2)
    answer = launched.chat("tutor")
    assert (answer.status_code, answer.json()["model"]) == (200, "tutor")


def test_what_cannot_be_done_is_told(launched: RunningApplication, ray_cluster: str) -> None:
    """A model without room, a name that is taken or wrong, an adapter that is not there: nothing is changed."""
    for words, code, said in (
        (("add", "x", "org/x", "--model", "plain"), 1, "plain was started without room for adapters"),
        (("add", "plain", "org/x", "--model", "adapted"), 2, "'plain' is already the name of models[1]"),
        (("add", "a b", "org/x", "--model", "adapted"), 2, "letters, digits and . _ : / - only"),
        (("remove", "nobody", "--model", "adapted"), 1, "adapted has no adapter 'nobody'"),
        (("add", "x", "org/x", "--model", "adaptd"), 1, "did you mean adapted?"),
    ):
        told = _adapters(*words, address=ray_cluster)
        assert (told.returncode, said in told.stderr) == (code, True), told.stderr
    kept = running_spec(launched.name)
    assert kept is not None
    assert "x" not in {adapter.name for adapter in kept.model("adapted").adapters}
    assert ray_api.application_state(launched.name) is not None
