"""Values of operators of such clusters: each renders into what Kubernetes takes, or is refused, with the reason."""

from pathlib import Path
from typing import Final

import kubernetes_validate
import pytest
import yaml

from tests.data_files import data_folder
from tests.integration.helm.chart import CHART, HELM_VERSIONS, helm, pods, ray_service, render, render_text
from tests.integration.helm.strict_yaml import strict_documents
from tests.integration.helm.test_egress import egress
from tests.integration.helm.test_layers import repeated
from tests.integration.helm.test_rendering import CORE_GROUPS, KUBERNETES, rayservice_validator, spec_and_kind

FILES: Final = sorted((data_folder() / "cases" / "operators" / "helm").glob("*.yaml"))
REFUSED: Final = {
    "37_gpu_tp2": "parallel.tensor: 2, but the largest NVLink domain of these groups (a node of l4) has 1 GPUs",
    "39_pp_too_big": "clusterFile.models: their replicas need 64 GPUs at least (r1: 4 x 16), but the groups have 16",
}
"""Files that cannot work, and what the chart must say."""
RENDERED: Final = [file for file in FILES if file.stem not in REFUSED]


def named(stem: str) -> Path:
    """Return a file by its name; skips where it is not there."""
    found = [file for file in FILES if file.stem == stem]
    if not found:
        pytest.skip(f"no cases/operators/helm/{stem}.yaml in {data_folder()}")
    return found[0]


@pytest.mark.parametrize("version", HELM_VERSIONS)
@pytest.mark.parametrize("file", RENDERED, ids=lambda file: file.stem)
def test_it_renders_into_what_kubernetes_takes(version: str, file: Path) -> None:
    """Strict YAML, no name twice, KubeRay's CRD, Kubernetes' own schemas."""
    documents = strict_documents(render_text(version, file))
    assert [place for document in documents for place in repeated(document, "")] == []
    assert not list(rayservice_validator().iter_errors(spec_and_kind(ray_service(file))))
    for manifest in render(version, file):
        if manifest["apiVersion"] in CORE_GROUPS:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    for name, pod in pods(file).items():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
        kubernetes_validate.validate(whole, KUBERNETES, strict=True)


@pytest.mark.parametrize("stem", REFUSED)
def test_what_cannot_work_is_refused(stem: str) -> None:
    """At render, with the reason."""
    done = helm("4.1", "template", "demo", CHART, "-f", named(stem))
    assert done.returncode != 0
    assert REFUSED[stem] in done.stderr


def test_the_users_affinity_stands_beside_the_charts() -> None:
    """All three: the user's two, and the clique's."""
    affinity = pods(named("02_clique_podaffinity"))["rack-0"]["affinity"]
    assert {key: sorted(value) for key, value in affinity.items()} == {
        "podAffinity": [
            "preferredDuringSchedulingIgnoredDuringExecution",
            "requiredDuringSchedulingIgnoredDuringExecution",
        ],
        "podAntiAffinity": ["requiredDuringSchedulingIgnoredDuringExecution"],
    }


@pytest.mark.parametrize(
    ("stem", "policy", "ports"),
    [
        ("13_proxy_egress", "-cluster", [3128]),
        ("14_redis", "-head", [6379]),
        ("27_otel", "-cluster", [4317]),
        ("42_autoscaler_quota", "-head", [443, 6443]),
    ],
)
def test_egress_follows_what_is_switched_on(stem: str, policy: str, ports: list[int]) -> None:
    """Proxy, Redis, collector, API server."""
    assert ports in [found for _, found in egress(policy, named(stem))]


def test_the_narrower_name_wins() -> None:
    """A group's environment over all pods' over the chart's."""
    file = named("01_env_override")
    env = {variable["name"]: variable["value"] for variable in pods(file)["gpu"]["containers"][0]["env"]}
    assert env["HF_HOME"] == "/x"
    assert yaml.safe_load(file.read_text())["env"][1]["value"] == env["HTTPS_PROXY"]
