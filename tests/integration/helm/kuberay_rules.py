"""What KubeRay 1.7.0's operator refuses beyond its CRD schema, and what makes it build a second cluster.

From `ray-operator/controllers/ray/utils/validation.go` (ValidateRayServiceMetadata, ValidateRayServiceSpec,
ValidateRayClusterSpec) and `utils/util.go` (GenerateHashWithoutReplicasAndWorkersToDelete) at tag v1.7.0.
"""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

Manifest = dict[str, Any]

MAX_NAME = 47
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
RESOURCE_PARAMS = frozenset({"num-cpus", "num-gpus", "memory", "resources"})
UPGRADE_TYPES = frozenset({"NewCluster", "None", "NewClusterWithIncrementalUpgrade"})
GATED = {"networkPolicy": "RayClusterNetworkPolicy", "tlsOptions": "RayClusterMTLS"}
"""Keys of a cluster that an operator without a feature gate refuses."""


def problems(service: Manifest, *, gates: frozenset[str] = frozenset()) -> list[str]:
    """Return why the operator would refuse a RayService; `gates` are its feature gates that are on."""
    return [*_metadata(service), *_upgrade(service), *_cluster(service["spec"]["rayClusterConfig"], gates)]


def upgrade_relevant(service: Manifest) -> str:
    """Return what the operator's hash covers, as text: where this differs, it wants a second cluster."""
    cluster = copy.deepcopy(service["spec"]["rayClusterConfig"])
    for key in ("upgradeStrategy", "suspend"):
        cluster.pop(key, None)
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        for key in ("replicas", "minReplicas", "maxReplicas"):
            group.pop(key, None)
        group.get("scaleStrategy", {}).pop("workersToDelete", None)
        for key in ("tolerations", "schedulingGates"):
            group["template"]["spec"].pop(key, None)
    return json.dumps(cluster, sort_keys=True)


def updates_in_place(before: Manifest, after: Manifest) -> bool:
    """Tell whether the operator takes `after` into the running cluster: equal but for groups appended at the end."""
    cut = copy.deepcopy(after)
    groups = cut["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    del groups[len(before["spec"]["rayClusterConfig"]["workerGroupSpecs"]) :]
    return upgrade_relevant(before) == upgrade_relevant(cut)


def _metadata(service: Manifest) -> Iterator[str]:
    name = service["metadata"]["name"]
    if len(name) > MAX_NAME:
        yield f"RayService name should be no more than {MAX_NAME} characters: {name}"
    if not DNS_1035.fullmatch(name):
        yield f"RayService name should be a valid DNS1035 label: {name}"


def _upgrade(service: Manifest) -> Iterator[str]:
    strategy = service["spec"].get("upgradeStrategy") or {}
    kind = strategy.get("type", "NewCluster")
    if kind not in UPGRADE_TYPES:
        yield f"upgradeStrategy.type is invalid: {kind}"
    if kind == "NewClusterWithIncrementalUpgrade":
        options = strategy.get("clusterUpgradeOptions") or {}
        if not service["spec"]["rayClusterConfig"].get("enableInTreeAutoscaling"):
            yield "NewClusterWithIncrementalUpgrade needs the autoscaler"
        if options.get("stepSizePercent", 101) > options.get("maxSurgePercent", 100):
            yield "stepSizePercent must be less than or equal to maxSurgePercent"
        if not options.get("gatewayClassName"):
            yield "gatewayClassName is required for NewClusterWithIncrementalUpgrade"


def _cluster(cluster: Manifest, gates: frozenset[str]) -> Iterator[str]:
    head = cluster["headGroupSpec"]
    groups = cluster["workerGroupSpecs"]
    autoscaling = bool(cluster.get("enableInTreeAutoscaling"))
    v2 = autoscaling and (cluster.get("autoscalerOptions") or {}).get("version") == "v2"
    names = [group["groupName"] for group in groups]
    if len(set(names)) != len(names):
        yield f"worker groups share a name: {names}"
    for name, group in (("head", head), *zip(names, groups, strict=True)):
        yield from _group(name, group, v2=v2)
    for group in groups:
        yield from _replicas(group, autoscaling=autoscaling, v2=v2)
    if head.get("headService", {}).get("metadata", {}).get("name"):
        yield "headService.metadata.name should not be set"
    yield from _fault_tolerance(cluster, head, gates)
    yield from _auth(cluster)
    for key, gate in GATED.items():
        if key in cluster and gate not in gates:
            yield f"{key} requires the {gate} feature gate"


def _group(name: str, group: Manifest, *, v2: bool) -> Iterator[str]:
    spec = group["template"]["spec"]
    if not spec.get("containers"):
        yield f"{name} should have at least one container"
    params = group.get("rayStartParams") or {}
    if group.get("resources") and RESOURCE_PARAMS & params.keys():
        yield f"resources of {name} stand in both rayStartParams and resources"
    if "labels" in params:
        yield f"rayStartParams['labels'] is not supported for {name}"
    for key, value in (group.get("labels") or {}).items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            yield f"label of {name} is invalid: {key}={value}"
    if v2 and spec.get("restartPolicy", "Never") != "Never":
        yield f"restartPolicy of {name} should be Never or unset with autoscaler v2"
    if group.get("suspend"):
        yield f"{name} cannot be suspended"


def _replicas(group: Manifest, *, autoscaling: bool, v2: bool) -> Iterator[str]:
    name, least, most = group["groupName"], group.get("minReplicas"), group.get("maxReplicas")
    if not autoscaling and (least is None or most is None):
        yield f"{name} must set both minReplicas and maxReplicas when autoscaling is disabled"
    if least is not None and most is not None and not 0 <= least <= most:
        yield f"{name} has minReplicas {least} and maxReplicas {most}"
    if "idleTimeoutSeconds" in group and not v2:
        yield f"{name}: idleTimeoutSeconds needs autoscaler v2"


def _fault_tolerance(cluster: Manifest, head: Manifest, gates: frozenset[str]) -> Iterator[str]:
    options = cluster.get("gcsFaultToleranceOptions")
    container = head["template"]["spec"]["containers"][0]
    env = {variable["name"] for variable in container.get("env", ())}
    if options is None:
        if "RAY_REDIS_ADDRESS" in env:
            yield "RAY_REDIS_ADDRESS is set without gcsFaultToleranceOptions"
        return
    if env & {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"}:
        yield "Redis settings stand in the head's env; give them in gcsFaultToleranceOptions"
    if options.get("backend") == "rocksdb":
        yield from _rocksdb(options, env, container, gates)
    elif options.get("storage"):
        yield "storage applies to backend rocksdb alone"


def _rocksdb(options: Manifest, env: set[str], head: Manifest, gates: frozenset[str]) -> Iterator[str]:
    if "GCSFaultToleranceEmbeddedStorage" not in gates:
        yield "backend rocksdb requires the GCSFaultToleranceEmbeddedStorage feature gate"
    if {"redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"} & options.keys():
        yield "Redis settings with backend rocksdb"
    storage = options.get("storage") or {}
    if storage.get("claimName") and {"size", "storageClassName", "accessModes"} & storage.keys():
        yield "storage.claimName excludes size, storageClassName and accessModes"
    if env & {"RAY_gcs_storage", "RAY_gcs_storage_path"}:
        yield "RAY_gcs_storage is KubeRay's to set"
    if any(mount["mountPath"] == "/data/gcs" for mount in head.get("volumeMounts", ())):
        yield "/data/gcs is KubeRay's to mount"


def _auth(cluster: Manifest) -> Iterator[str]:
    options = cluster.get("authOptions") or {}
    if options.get("mode") == "token":
        version = tuple(int(part) for part in (cluster.get("rayVersion") or "0.0").split(".")[:2])
        if version < (2, 52):
            yield f"token authentication needs Ray 2.52.0, got {cluster.get('rayVersion')}"
    if options.get("enableK8sTokenAuth"):
        yield "Kubernetes token authentication is not supported for a RayService"
