"""What the chart renders runs: its `serveConfigV2` on a real Ray with simulated engines, sent as KubeRay sends it.

In short, on the tests' own Ray: `tests/integration/cluster/test_serve_command.py`.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.app import deployment_name
from tests.free_ports import free_port
from tests.integration.cluster.running_application import wait_for
from tests.integration.helm.chart import pods, ray_service, scenario
from tests.integration.helm.chat_load import asking
from tests.integration.helm.joining_pod import joining_pod
from tests.integration.helm.serve_api import ServeApi, ray_with_dashboard

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(600)]

MODELS = ("alpha", "org/beta.1")
BETA = deployment_name("org/beta.1")


class Release:
    """A Helm release of the `sim` scenario: values → rendered → applied → running.

    Args:
        api: of the Ray it runs on.
        folder: for values files.
    """

    def __init__(self, api: ServeApi, folder: Path) -> None:
        self.api = api
        self._folder = folder
        self._revision = 0
        self._values: dict[str, Any] = yaml.safe_load(scenario("sim").read_text())
        self._gateway = self._values["clusterFile"]["gateway"]
        self._gateway.update(port=free_port(), admin_port=free_port())
        self._values["clusterFile"]["cluster"]["serve_port"] = free_port()
        self.url = f"http://127.0.0.1:{self._gateway['port']}"

    def upgrade(self, *settings: str, change: Callable[[dict[str, Any]], None] = lambda _: None, alpha: int) -> None:
        """Render with changed values, apply, and wait until `alpha` replicas of alpha and all else run.

        Args:
            settings: for `--set`.
            change: edits the values file's data.
            alpha: replicas of the model.
        """
        self._revision += 1
        change(self._values)
        file = self._folder / f"revision-{self._revision}.yaml"
        file.write_text(yaml.safe_dump(self._values))
        self.api.apply(ray_service(file, *settings)["spec"]["serveConfigV2"])
        self.api.wait_until_running("sim", {"gateway": 2, "alpha": alpha, BETA: 1})

    def replicas(self, deployment: str) -> set[str]:
        """Return the ids of a deployment's replicas."""
        return self.api.replica_ids("sim", deployment)

    def gateways(self) -> Counter[str]:
        """Return how many gateways run on each node."""
        return self.api.replicas_by_node("sim", "gateway")

    def wanted_gateways(self) -> int:
        """Return how many gateways Serve is to run."""
        return int(self.api.details()["sim"]["deployments"]["gateway"]["target_num_replicas"])

    def answering(self) -> int:
        """Return how many gateway processes have answered apps, by their metrics: each takes the next admin port."""
        pages = []
        for number in range(8):
            with contextlib.suppress(httpx.TransportError):
                pages.append(httpx.get(f"http://127.0.0.1:{self._gateway['admin_port'] + number}/metrics").text)
        return sum('outcome="ok"' in page for page in pages)

    def is_ready(self) -> bool:
        """Tell whether a gateway says so."""
        try:
            return httpx.get(f"{self.url}/ready").is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """Give the scenario, installed and serving."""
    with ray_with_dashboard() as api:
        release = Release(api, tmp_path_factory.mktemp("values"))
        release.upgrade(alpha=1)
        wait_for("a gateway is ready", release.is_ready)
        yield release


@pytest.mark.parametrize("model", MODELS)
def test_every_model_answers_a_chat(release: Release, model: str) -> None:
    """An app asks at the gateways' port and gets its model's answer."""
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    answer = httpx.post(f"{release.url}/v1/chat/completions", json=body, timeout=30.0)
    assert answer.status_code == 200
    assert (answer.json()["model"], answer.json()["usage"]["completion_tokens"]) == (model, 5)


def test_changed_values_lose_no_request(release: Release) -> None:
    """Under load a model scales through values; then an engine setting rolls it and a gateway setting the gateways.

    Every request is answered in full, and only what a change is about starts anew.
    """

    def other_settings(values: dict[str, Any]) -> None:
        values["clusterFile"]["models"][0]["sim"]["inter_token_s"] = 0.006
        values["clusterFile"]["gateway"]["idle_timeout_s"] = 60

    two = ("models.alpha.min=2", "models.alpha.max=2")
    with asking(release.url, MODELS) as answers:
        alpha, beta, gateways = (release.replicas(name) for name in ("alpha", BETA, "gateway"))

        release.upgrade(*two, alpha=2)
        assert alpha < release.replicas("alpha")
        assert (release.replicas(BETA), release.replicas("gateway")) == (beta, gateways)

        alpha = release.replicas("alpha")
        release.upgrade(*two, change=other_settings, alpha=2)
        assert not alpha & release.replicas("alpha")
        assert not gateways & release.replicas("gateway")
        assert release.replicas(BETA) == beta
    assert answers.failures == []
    assert all(answers.good[model] > 20 for model in MODELS), answers.good


def test_gateways_follow_a_deployments_pods(release: Release) -> None:
    """A pod of the gateways' Deployment joins as a Ray node: it gets its two gateways, and they answer apps.

    Then its `preStop` hook empties it under load: its gateways end and no others, and no request is lost.
    """
    before = release.gateways()
    (first,) = before
    with asking(release.url, MODELS) as answers, joining_pod(release.api, scenario("gateway-hpa")):
        wait_for("two gateways on each node", lambda: sorted(release.gateways().values()) == [2, 2])
        (node,) = release.gateways().keys() - {first}
        wait_for("each of the four answers", lambda: release.answering() == 4)
        kept = release.replicas("gateway")

        done = release.api.run_in_pod("rackserve", "drain-node", "--timeout", "40", "--node", node)
        assert done.returncode == 0, done.stdout + done.stderr
        assert release.gateways() == before
        assert release.wanted_gateways() == 2
        assert release.replicas("gateway") < kept
    assert answers.failures == []
    assert all(answers.good[model] > 20 for model in MODELS), answers.good


def test_a_draining_pods_answers_are_finished(release: Release) -> None:
    """The pods' `preStop` hook empties the node, and a stream that was running when it began arrives whole.

    Stands last: there is no other node here, so nothing serves afterwards.
    """
    hook = pods(scenario("sim"))["gateway"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    body = {
        "model": "alpha",
        "messages": [{"role": "user", "content": "a long story"}],
        "max_tokens": 600,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.stream("POST", f"{release.url}/v1/chat/completions", json=body, timeout=60.0) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        # A short time, so that Serve does not wait for a node to move things to.
        done = release.api.run_in_pod(*hook[:-1], "40")
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert len(rest) > 500
    assert done.returncode == 0, done.stdout + done.stderr
    assert "replicas on the node: 0" in done.stderr
