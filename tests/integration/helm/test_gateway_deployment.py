"""Gateways as a Deployment: the worker group's very pods, which join Ray by themselves, and what scales them."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.integration.helm.chart import (
    Manifest,
    of_kind,
    pod_templates,
    pods,
    ray_service,
    scenario,
    worker_groups,
)
from tests.integration.helm.test_pods import selected_pods, spec_of
from tests.metrics_table import documented_metrics

HPA, KEDA = scenario("gateway-hpa"), scenario("gateway-keda")
UNSCALED = "gateway.autoscaling.by=none"
AS_GROUP = (UNSCALED, "gateway.workload=WorkerGroup")
either = pytest.mark.parametrize("values", [HPA, KEDA], ids=["hpa", "keda"])


def deployment(values: Path, *settings: str) -> Manifest:
    """Return the Deployment's spec."""
    (found,) = of_kind("Deployment", values, *settings)
    spec: Manifest = found["spec"]
    return spec


def environment(container: Manifest) -> dict[str, Any]:
    """Return a container's variables: values, or where they come from."""
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


@either
def test_the_pod_is_the_worker_groups(values: Path) -> None:
    """Everything that is no part of joining Ray is the same: image, probes, drain, mounts, security, grace, labels."""
    joins, group = pod_templates(values)["gateway"], pod_templates(values, *AS_GROUP)["gateway"]
    assert joins["metadata"] == group["metadata"]
    assert joins["spec"].pop("initContainers")
    (container,), (plain,) = joins["spec"]["containers"], group["spec"]["containers"]
    assert container.pop("command") == ["/bin/bash", "-c", "--"]
    assert container.pop("args")
    added = environment(container).keys() - environment(plain).keys()
    assert added >= {"RAY_ADDRESS", "RAY_AUTH_TOKEN"}
    container["env"] = [variable for variable in container["env"] if variable["name"] not in added]
    assert joins == group


@either
def test_the_node_is_the_worker_groups(values: Path) -> None:
    """Ray gets the same labels and settings that KubeRay would give it; the cluster file asks for those labels."""
    words = shlex.split(pods(values)["gateway"]["containers"][0]["args"][0])
    assert words[words.index("exec") :][:3] == ["exec", "ray", "start"]
    given = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--") and "=" in word)
    labels = dict(label.split("=") for label in given.pop("labels").split(","))
    group = worker_groups(ray_service(values, *AS_GROUP))["gateway"]
    assert labels == group["labels"]
    assert group["rayStartParams"].items() <= given.items()
    assert spec_of(ray_service(values)).gateway.node_labels.items() <= labels.items()
    assert words[-1] == "--block"
    assert "gateway" not in worker_groups(ray_service(values))


@either
def test_the_head_is_found_before_anything_is_ready(values: Path) -> None:
    """By a Service of the release's own: KubeRay's for the RayService is made only once the application runs.

    Its pods are the head's, ready or not; the port is GCS's; the pod waits for it, and then joins, with Ray's token.
    """
    gateway = pods(values)["gateway"]
    (waiting,) = gateway["initContainers"]
    (container,) = gateway["containers"]
    address, port = environment(container)["RAY_ADDRESS"].split(":")
    service = next(s for s in of_kind("Service", values) if f"{s['metadata']['name']}.llm.svc" == address)
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["clusterIP"] == "None"
    assert selected_pods(service, values) == {"head"}
    head_ports = {p["name"]: p["containerPort"] for p in pods(values)["head"]["containers"][0]["ports"]}
    assert [(p["port"], head_ports[p["targetPort"]]) for p in service["spec"]["ports"]] == [(int(port), int(port))]
    assert environment(waiting) == environment(container)
    secret = ray_service(values)["spec"]["rayClusterConfig"]["authOptions"]["secretName"]
    assert environment(container)["RAY_AUTH_TOKEN"] == {"secretKeyRef": {"name": secret, "key": "auth_token"}}
    open_to_all = pods(values, "auth.enabled=false")["gateway"]["containers"][0]
    assert {name: value for name, value in environment(open_to_all).items() if "AUTH" in name} == {
        "RAY_AUTH_MODE": "disabled"
    }


def test_rays_autoscaler_leaves_them_alone() -> None:
    """Nothing that makes it look for a KubeRay pod behind the node."""
    assert "RAY_CLOUD_INSTANCE_ID" not in environment(pods(HPA)["gateway"]["containers"][0])


def test_a_number_is_said_where_nobody_else_says_it() -> None:
    """An upgrade does not undo what an autoscaler has set; without one, the values say it."""
    assert "replicas" not in deployment(HPA)
    assert "replicas" not in deployment(KEDA)
    assert deployment(HPA, UNSCALED)["replicas"] == 2
    assert deployment(HPA, UNSCALED, "scale.gateway.replicas=5")["replicas"] == 5


def test_the_hpa_counts_cores_in_use() -> None:
    """By what two processes use of two cores, not by a share of the pod's limit, which they could never pass."""
    (hpa,) = of_kind("HorizontalPodAutoscaler", HPA)
    (metric,) = hpa["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1400m"}}
    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (2, 12)
    assert hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert_scales_the_gateways(hpa)
    assert not of_kind("ScaledObject", HPA)


def test_keda_asks_for_what_prometheus_has() -> None:
    """The query is a gateway metric by the labels the chart's ServiceMonitor gives it; the threshold is a pod's."""
    (scaled,) = of_kind("ScaledObject", KEDA)
    (trigger,) = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    metric, namespace, service = re.fullmatch(r'sum\((\w+){namespace="(.+)", service="(.+)"}\)', query).groups()  # type: ignore[union-attr]
    assert documented_metrics()[metric].kind == "gauge"
    monitored = of_kind("ServiceMonitor", KEDA)[0]["spec"]["selector"]["matchLabels"].items()
    (admin,) = (found for found in of_kind("Service", KEDA) if monitored <= found["metadata"]["labels"].items())
    assert (admin["metadata"]["namespace"], admin["metadata"]["name"]) == (namespace, service)
    assert trigger["metadata"]["threshold"] == "150"
    (double,) = of_kind("ScaledObject", KEDA, "gateway.processes=2")
    assert double["spec"]["triggers"][0]["metadata"]["threshold"] == "300"
    assert trigger["authenticationRef"] == {"name": "prometheus"}
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (3, 10)
    assert_scales_the_gateways(scaled)
    assert not of_kind("HorizontalPodAutoscaler", KEDA)
    (own,) = of_kind("ScaledObject", KEDA, "gateway.autoscaling.keda.query=sum(up)")
    assert own["spec"]["triggers"][0]["metadata"]["query"] == "sum(up)"


def assert_scales_the_gateways(autoscaler: Manifest) -> None:
    """Check that an autoscaler's target is the gateways' Deployment."""
    target = autoscaler["spec"]["scaleTargetRef"]
    (found,) = of_kind("Deployment", HPA)
    assert target == {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": found["metadata"]["name"]}
    assert autoscaler["metadata"]["namespace"] == found["metadata"]["namespace"]


def test_the_budget_follows_the_scale() -> None:
    """A Deployment has a scale that Kubernetes can ask, so that its budget is by what may be away."""
    (budget,) = (b for b in of_kind("PodDisruptionBudget", HPA) if b["metadata"]["name"].endswith("-gateway"))
    assert budget["spec"]["maxUnavailable"] == 1
    assert "minAvailable" not in budget["spec"]
    assert budget["spec"]["selector"]["matchLabels"] == deployment(HPA)["selector"]["matchLabels"]
    assert deployment(HPA)["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
