"""Every scenario under ci/ renders with both Helm versions into what Kubernetes and KubeRay accept."""

import functools
import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.data_files import RAYSERVICE_SCHEMA
from tests.integration.helm import kuberay_rules
from tests.integration.helm.chart import (
    ALL_VALUES,
    CHART,
    HELM_VERSIONS,
    ROOT,
    SCENARIOS,
    Manifest,
    helm,
    of_kind,
    pods,
    ray_service,
    render,
    render_text,
    scenario,
)
from tests.integration.helm.test_pods import selected_pods

KUBERNETES = "1.34"
CORE_GROUPS = frozenset({"v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1"})
OPERATOR_VALUES = ROOT / "helm" / "kuberay-operator-values.yaml"

every_values_file = pytest.mark.parametrize("values", ALL_VALUES, ids=lambda file: file.stem)


@functools.cache
def rayservice_validator() -> jsonschema.Draft7Validator:
    """Return KubeRay's CRD schema; skips the test where it is absent."""
    path = RAYSERVICE_SCHEMA.found()
    if path is None:
        pytest.skip(RAYSERVICE_SCHEMA.why_skipped)
    return jsonschema.Draft7Validator(json.loads(path.read_text()))


def test_there_are_enough_scenarios() -> None:
    """The scenarios cover the kinds of racks and the options; 16 at least."""
    assert len(SCENARIOS) >= 16


@every_values_file
@pytest.mark.parametrize("version", HELM_VERSIONS)
def test_lint_finds_nothing(version: str, values: Path) -> None:
    """`helm lint --strict` passes."""
    done = helm(version, "lint", "--strict", CHART, "-f", values)
    assert done.returncode == 0, done.stdout + done.stderr


@every_values_file
def test_both_versions_render_the_same(values: Path) -> None:
    """Helm 3 and Helm 4 write the same objects, each once."""
    manifests = render("3.17", values)
    assert manifests == render("4.1", values)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(names)) == len(names)
    assert all(manifest["metadata"]["namespace"] == "llm" for manifest in manifests)


@every_values_file
def test_the_rayservice_fits_kuberays_schema(values: Path) -> None:
    """The RayService is valid by KubeRay 1.7.0's CRD, taken strictly: no unknown key anywhere."""
    errors = list(rayservice_validator().iter_errors(spec_and_kind(ray_service(values))))
    assert not errors, [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def spec_and_kind(service: Manifest) -> Manifest:
    """Return what the schema covers: it knows `spec`, and takes metadata as Kubernetes' own business."""
    properties = rayservice_validator().schema["properties"]
    return {key: value for key, value in service.items() if key in properties}


@every_values_file
def test_core_objects_are_valid(values: Path) -> None:
    """Every object of a kind Kubernetes itself knows is valid in strict mode; so is every pod, as a Pod."""
    seen: set[str] = set()
    service = ray_service(values)
    for manifest in render("4.1", values):
        if manifest["apiVersion"] in CORE_GROUPS:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
            seen.add(manifest["kind"])
    assert "Service" in seen
    config = service["spec"]["rayClusterConfig"]
    for group in (config["headGroupSpec"], *config["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", **group["template"]}
        pod["metadata"] = {"name": "pod", **pod["metadata"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@every_values_file
def test_the_operator_accepts_it(values: Path) -> None:
    """With the feature gates of helm/kuberay-operator-values.yaml KubeRay's own rules find nothing."""
    gates = yaml.safe_load(OPERATOR_VALUES.read_text())["featureGates"]
    on = frozenset(gate["name"] for gate in gates if gate["enabled"])
    assert kuberay_rules.problems(ray_service(values), gates=on) == []


def test_a_plain_operator_is_enough_without_rocksdb() -> None:
    """Only GCS on RocksDB needs a feature gate: a laptop's operator needs none."""
    assert kuberay_rules.problems(ray_service(CHART / "values-cpu.yaml")) == []
    assert kuberay_rules.problems(ray_service(scenario("hgx-redis"))) == []
    (problem,) = kuberay_rules.problems(ray_service(scenario("gb300-rack")))
    assert "GCSFaultToleranceEmbeddedStorage" in problem


def test_dashboards_and_alerts_are_the_charts_files() -> None:
    """Each file under dashboards/ and alerts/ arrives as it is, in its own object; none unless asked for."""
    values = scenario("monitoring")
    shown = {
        name: json.loads(text)
        for manifest in of_kind("ConfigMap", values)
        for name, text in manifest["data"].items()
        if manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
    }
    assert shown == {file.name: json.loads(file.read_text()) for file in (CHART / "dashboards").glob("*.json")}
    rules = [manifest["spec"] for manifest in of_kind("PrometheusRule", values)]
    assert rules == [yaml.safe_load(file.read_text()) for file in sorted((CHART / "alerts").glob("*.yaml"))]
    assert not of_kind("ConfigMap", scenario("bare"))


def test_prometheus_finds_every_gateway_process() -> None:
    """The ServiceMonitor selects the headless Service of the gateways' admin ports alone, and each port of it."""
    values = scenario("monitoring")
    (monitor,) = of_kind("ServiceMonitor", values)
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = (found for found in of_kind("Service", values) if wanted <= found["metadata"]["labels"].items())
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert selected_pods(service, values) == {"gateway"}
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    assert {(end["port"], end["path"], end["interval"]) for end in monitor["spec"]["endpoints"]} == {
        (name, "/metrics", "5s") for name in ports
    }
    container = {port["name"]: port["containerPort"] for port in pods(values)["gateway"]["containers"][0]["ports"]}
    assert [container[target] for target in ports.values()] == [8002, 8003]
    assert not of_kind("ServiceMonitor", scenario("bare"))


def test_the_notes_render() -> None:
    """NOTES.txt tells where apps connect and how to scale, with the release's own names."""
    # Helm 4's alone: Helm 3 asks a cluster even for a dry run.
    done = helm("4.1", "install", "demo", CHART, "-n", "llm", "-f", scenario("tenants-tls"), "--dry-run=client")
    assert done.returncode == 0, done.stderr
    for words in ("https://llm-gateway.llm.svc:443/v1", "--set models.chat.max=4", "GCSFaultToleranceEmbeddedStorage"):
        assert words in done.stdout


def test_rendering_twice_gives_the_same_text() -> None:
    """Nothing random or dated is rendered: an upgrade without a change changes nothing."""
    assert render_text("4.1", scenario("gb300-rack")) == render_text("4.1", scenario("gb300-rack"))
