"""What is given in several places is rendered once, the narrower place wins, and strict readers take all of it."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.helm.chart import (
    ALL_VALUES,
    CHART,
    HELM_VERSIONS,
    helm,
    of_kind,
    pod_templates,
    pods,
    ray_service,
    render_text,
    scenario,
    worker_groups,
)
from tests.integration.helm.strict_yaml import strict_documents

LAYERS = scenario("layers")
KEYED_LISTS = {
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "name",
    "containers": "name",
    "initContainers": "name",
    "workerGroupSpecs": "groupName",
}
"""Lists whose entries Kubernetes tells apart by one of their keys."""
every_values_file = pytest.mark.parametrize("values", ALL_VALUES, ids=lambda file: file.stem)


@every_values_file
@pytest.mark.parametrize("version", HELM_VERSIONS)
def test_no_key_and_no_name_stands_twice(version: str, values: Path) -> None:
    """Each key of each mapping is written once, and each entry of a list with names has a name of its own."""
    documents = strict_documents(render_text(version, values))
    assert [place for document in documents for place in repeated(document, "")] == []


def repeated(tree: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - any YAML
    """Yield where two entries of a list share their name."""
    if isinstance(tree, list):
        for number, entry in enumerate(tree):
            yield from repeated(entry, f"{path}[{number}]")
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if key in KEYED_LISTS and isinstance(value, list):
            # A NetworkPolicy's ports have no names; a Service's have.
            names = Counter(entry[KEYED_LISTS[key]] for entry in value if KEYED_LISTS[key] in entry)
            yield from (f"{path}.{key}: {name}" for name, count in names.items() if count > 1)
        yield from repeated(value, f"{path}.{key}")


def test_a_key_that_stands_twice_is_found() -> None:
    """The strict reader refuses what PyYAML's own takes, at any depth."""
    assert strict_documents("a: {b: 1}\n---\n---\nc: [1]\n") == [{"a": {"b": 1}}, {"c": [1]}]
    with pytest.raises(yaml.YAMLError, match="'b' stands twice"):
        strict_documents("a:\n  - {b: 1, b: 2}\n")


@every_values_file
def test_kustomize_takes_it(values: Path, tmp_path: Path) -> None:
    """`kubectl kustomize`, as Flux and Argo CD run it, builds the objects that Helm rendered, all of them."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl on the PATH; with it, `kubectl kustomize` reads what the chart renders")
    text = render_text("4.1", values)
    (tmp_path / "rendered.yaml").write_text(text)
    (tmp_path / "kustomization.yaml").write_text("resources: [rendered.yaml]\nnamespace: llm\n")
    command = [kubectl, "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert objects(strict_documents(done.stdout)) == objects(strict_documents(text))


def objects(documents: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Return kinds and names."""
    return Counter((document["kind"], document["metadata"]["name"]) for document in documents)


def environment(group: str) -> dict[str, Any]:
    """Return what a group's container has in its environment: values, or where they come from."""
    (container,) = pods(LAYERS)[group]["containers"]
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


def test_the_narrower_environment_wins() -> None:
    """A group's over that of all pods, that over the chart's; what a pod joins Ray by is the chart's alone."""
    rack, head, gateway = environment("rack-0"), environment("head"), environment("gateway")
    assert (rack["HF_HOME"], rack["HTTPS_PROXY"]) == ("/models/hf", "http://rack-proxy.corp:3128")
    assert rack["HF_TOKEN"] == {"secretKeyRef": {"name": "other-hf", "key": "token"}}
    assert (head["RAY_health_check_failure_threshold"], head["RAY_health_check_period_ms"]) == ("10", "1000")
    assert {pod["HTTPS_PROXY"] for pod in (head, gateway)} == {"http://proxy.corp:3128"}
    assert {pod["RAY_USAGE_STATS_ENABLED"] for pod in (rack, head, gateway)} == {"1"}
    assert gateway["RAY_ADDRESS"] == "on-gcs.llm.svc:6379"


def test_variables_may_refer_to_those_before_them(tmp_path: Path) -> None:
    """What overrides a variable stands where the user wrote it: Kubernetes expands `$(X)` if X is above."""
    file = tmp_path / "values.yaml"
    file.write_text("env: [{name: SHARED, value: /models}, {name: HF_HOME, value: $(SHARED)/hf}]\n")
    names = [variable["name"] for variable in pods(file)["gpu"]["containers"][0]["env"]]
    assert names.index("SHARED") < names.index("HF_HOME")


def test_the_groups_affinity_stands_beside_the_cliques() -> None:
    """All of the user's terms are there, and the one that keeps a rack's pods in one NVLink clique."""
    affinity = pods(LAYERS)["rack-0"]["affinity"]
    given = yaml.safe_load(LAYERS.read_text())["groups"][0]["affinity"]
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    clique = affinity["podAffinity"][key].pop()
    assert clique["topologyKey"] == "nvidia.com/gpu.clique"
    assert clique["labelSelector"]["matchLabels"].items() <= labels_of("rack-0").items()
    assert affinity == given


def labels_of(group: str) -> dict[str, str]:
    """Return the labels of a group's pods."""
    labels: dict[str, str] = pod_templates(LAYERS)[group]["metadata"]["labels"]
    return labels


def test_the_narrower_label_and_annotation_win() -> None:
    """Ray's and the objects' labels are the user's where both give one; selectors find their pods all the same."""
    labels = worker_groups(ray_service(LAYERS))["rack-0"]["labels"]
    assert labels == {
        "rackserve.io/role": "model",
        "rackserve.io/group": "team-a",
        "ray.io/gpu-domain": "1e3",
        "row": "007",
    }
    assert labels_of("rack-0")["rackserve.io/group"] == "rack-0"
    annotations = {name: pod["metadata"]["annotations"] for name, pod in pod_templates(LAYERS).items()}
    assert annotations["rack-0"] == {"example.com/team": "serving-a", "example.com/cost": "42"}
    assert annotations["head"]["example.com/team"] == "serving"
    (monitor,) = of_kind("ServiceMonitor", LAYERS)
    assert monitor["metadata"]["labels"]["app.kubernetes.io/part-of"] == "llm-platform"
    rules = of_kind("PrometheusRule", LAYERS)
    assert {rule["metadata"]["labels"]["app.kubernetes.io/name"] for rule in rules} == {"kps"}


def test_names_stay_names() -> None:
    """`on`, `1e3` and `0` are text where Kubernetes wants a name, whatever YAML 1.1 makes of them without quotes."""
    service = ray_service(LAYERS)
    assert service["metadata"]["name"] == "on"
    assert "off" in worker_groups(service)
    rack = pods(LAYERS)["rack-0"]
    assert rack["priorityClassName"] == "yes"
    assert {"name": "model-cache", "persistentVolumeClaim": {"claimName": "0"}} in rack["volumes"]
    (ingress,) = of_kind("Ingress", LAYERS)
    assert (ingress["spec"]["ingressClassName"], ingress["spec"]["rules"][0]["host"]) == ("y", "0x10")


TWICE = {
    "env": ("env: [{name: A, value: b}, {name: A, value: c}]", 'env[1].name: "A" is also env[0]; keep one'),
    "head.env": ("head: {env: [{name: A}, {name: A}]}", 'head.env[1].name: "A" is also head.env[0]; keep one'),
    "a group's": (
        "groups: [{name: a, profile: cpu, env: [{name: A}, {name: B}, {name: A}]}]",
        'groups[0].env[2].name: "A" is also groups[0].env[0]; keep one',
    ),
    "nameless": ("env: [{value: b}]", "env[0].name: missing"),
    "the role": (
        "groups: [{name: a, profile: cpu, labels: {rackserve.io/role: gateway}}]",
        'groups[0].labels: rackserve.io/role is "gateway"; it tells gateways from replicas, so leave it out',
    ),
}
"""What is wrong → values, and what the chart must say."""


@pytest.mark.parametrize("name", TWICE)
def test_a_name_twice_in_one_place_is_told(name: str, tmp_path: Path) -> None:
    """Which of two would win inside one list is nobody's decision."""
    text, message = TWICE[name]
    file = tmp_path / "values.yaml"
    file.write_text(text)
    done = helm("4.1", "template", "demo", CHART, "-f", file)
    assert done.returncode != 0
    assert message in done.stderr
