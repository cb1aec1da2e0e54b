"""The operator's rules, as the other tests ask them, do find what KubeRay 1.7.0 refuses."""

from collections.abc import Callable

import pytest

from tests.integration.helm import kuberay_rules
from tests.integration.helm.chart import Manifest, ray_service, scenario

GATES = frozenset({"GCSFaultToleranceEmbeddedStorage"})


def cluster(service: Manifest) -> Manifest:
    """Return the cluster's part."""
    part: Manifest = service["spec"]["rayClusterConfig"]
    return part


def group(service: Manifest) -> Manifest:
    """Return the first worker group."""
    part: Manifest = cluster(service)["workerGroupSpecs"][0]
    return part


def head_env(service: Manifest, name: str) -> None:
    """Give the head an environment variable."""
    cluster(service)["headGroupSpec"]["template"]["spec"]["containers"][0]["env"].append({"name": name, "value": "1"})


def incremental(**options: object) -> Manifest:
    """Return an incremental upgrade strategy."""
    return {"type": "NewClusterWithIncrementalUpgrade", "clusterUpgradeOptions": {"gatewayClassName": "g", **options}}


BREAKS: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "long name": (lambda s: s["metadata"].update(name="a" * 48), "no more than 47 characters"),
    "name with a digit first": (lambda s: s["metadata"].update(name="7a"), "DNS1035"),
    "unknown upgrade": (lambda s: s["spec"].update(upgradeStrategy={"type": "Recreate"}), "Recreate"),
    "incremental upgrade without autoscaler": (
        lambda s: s["spec"].update(upgradeStrategy=incremental(stepSizePercent=10)),
        "needs the autoscaler",
    ),
    "labels in start parameters": (lambda s: group(s)["rayStartParams"].update(labels="a=b"), "['labels']"),
    "bad label": (lambda s: group(s)["labels"].update({"ray.io/gpu-domain": "a b"}), "ray.io/gpu-domain=a b"),
    "resources twice": (lambda s: group(s).update(resources={"CPU": "1"}), "both rayStartParams and resources"),
    "no max": (lambda s: group(s).pop("maxReplicas"), "must set both"),
    "min above max": (lambda s: group(s).update(minReplicas=9), "minReplicas 9"),
    "idle timeout without v2": (lambda s: group(s).update(idleTimeoutSeconds=5), "autoscaler v2"),
    "redis address beside rocksdb": (
        lambda s: cluster(s)["gcsFaultToleranceOptions"].update(redisAddress="x"),
        "Redis settings with backend rocksdb",
    ),
    "redis in the head's env": (lambda s: head_env(s, "RAY_REDIS_ADDRESS"), "in the head's env"),
    "storage path in the head's env": (lambda s: head_env(s, "RAY_gcs_storage_path"), "KubeRay's to set"),
    "old Ray with a token": (lambda s: cluster(s).update(rayVersion="2.51.1"), "needs Ray 2.52.0"),
    "gated network policy": (lambda s: cluster(s).update(networkPolicy={}), "RayClusterNetworkPolicy"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_is_found_broken(name: str) -> None:
    """One thing wrong, one problem told."""
    service = ray_service(scenario("gb300-rack"))
    break_it, words = BREAKS[name]
    break_it(service)
    (problem,) = kuberay_rules.problems(service, gates=GATES)
    assert words in problem


def test_autoscaler_v2_forbids_restarting_pods() -> None:
    """With autoscaler v2 a pod that ends stays ended."""
    service = ray_service(scenario("gb200-autoscaler"))
    group(service)["template"]["spec"]["restartPolicy"] = "Always"
    (problem,) = kuberay_rules.problems(service, gates=GATES)
    assert "restartPolicy" in problem
