"""What operators bring along for pods and objects arrives where they expect it, beside the chart's own."""

from pathlib import Path

import pytest

from tests.integration.helm.chart import (
    CHART,
    Manifest,
    helm,
    of_kind,
    pod_templates,
    pods,
    ray_service,
    render,
    scenario,
    worker_groups,
)

OWN = scenario("own-parts")
ROX = scenario("shared-weights")
WARM = scenario("warm-cache")


def rack() -> Manifest:
    """Return the pod of the GPU group."""
    return pods(OWN)["l40s"]


def mounts(container: Manifest) -> dict[str, str]:
    """Return a container's volumes by path."""
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_volumes_stand_beside_the_charts() -> None:
    """A new name is added, and one of the chart's is replaced; the container has its mount and all others."""
    volumes = {volume["name"]: volume for volume in rack()["volumes"]}
    assert volumes["corp-ca"]["configMap"] == {"name": "corp-ca"}
    assert volumes["home"]["emptyDir"] == {"sizeLimit": "10Gi"}
    found = mounts(rack()["containers"][0])
    assert found["/etc/ssl/corp"] == "corp-ca"
    assert found["/dev/shm"] == "shared-mem"  # noqa: S108 - a path in the pod
    assert found.keys() >= {"/tmp", "/home/rackserve", "/var/cache/rackserve"}  # noqa: S108 - a path in the pod


def test_containers_before_and_beside_find_the_model_cache() -> None:
    """An init container writes weights where the engine reads them, confined as all are; sidecars have mounts too."""
    (weights,) = rack()["initContainers"]
    _, logs = rack()["containers"]
    assert mounts(weights)["/var/cache/rackserve"] == "model-cache"
    assert weights["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert weights["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]
    assert (mounts(logs)["/ca"], mounts(logs)["/tmp"]) == ("corp-ca", "tmp")  # noqa: S108 - a path in the pod
    assert rack()["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]
    assert rack()["containers"][0]["name"] == "ray-worker"  # KubeRay takes the first as Ray's


def test_requests_may_be_less_than_limits() -> None:
    """What `resources` gives lies over what the other keys make; Ray gives away whole CPUs of the limit."""
    resources = rack()["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": 4, "memory": "32Gi", "ephemeral-storage": "100Gi"}
    assert resources["limits"] == {
        "cpu": "7500m",
        "memory": "60Gi",
        "nvidia.com/gpu": 1,
        "ephemeral-storage": "200Gi",
    }
    groups = worker_groups(ray_service(OWN))
    assert [groups[name]["rayStartParams"]["num-cpus"] for name in ("l40s", "host")] == ["7", "16"]


def test_labels_and_annotations_arrive() -> None:
    """Of every pod, of one group's pods, of every object, of the RayService."""
    labels = {name: pod["metadata"]["labels"] for name, pod in pod_templates(OWN).items()}
    assert {pod["cost-centre"] for pod in labels.values()} == {"4711"}
    assert [name for name, pod in labels.items() if "sidecar.istio.io/inject" in pod] == ["l40s"]
    assert {m["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for m in render("4.1", OWN)} == {"serving"}
    assert ray_service(OWN)["metadata"]["annotations"] == {"example.com/owner": "llm-platform"}


def test_pods_are_scheduled_as_asked() -> None:
    """The scheduler is every pod's; spread counts the group's own pods unless told otherwise."""
    assert {pod["schedulerName"] for pod in pods(OWN).values()} == {"volcano"}
    for name in ("l40s", "gateway"):
        first, *more = pods(OWN)[name]["topologySpreadConstraints"]
        own = pod_templates(OWN)[name]["metadata"]["labels"]
        assert first["labelSelector"]["matchLabels"].items() <= own.items()
        others = [t["metadata"]["labels"] for other, t in pod_templates(OWN).items() if other != name]
        assert not any(first["labelSelector"]["matchLabels"].items() <= labels.items() for labels in others)
        told = [each["labelSelector"]["matchLabels"] for each in more]
        assert told == ([{"app": "all"}] if name == "gateway" else [])
    host = pods(OWN)["host"]
    assert (host["hostNetwork"], host["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")


def test_apps_come_by_any_host_and_by_the_class_asked_for() -> None:
    """An Ingress without a host; a Service for the controller of that class."""
    (ingress,) = of_kind("Ingress", OWN)
    (rule,) = ingress["spec"]["rules"]
    assert "host" not in rule
    assert "tls" not in ingress["spec"]
    (front,) = (s["spec"] for s in of_kind("Service", OWN) if s["metadata"]["name"].endswith("-gateway"))
    assert (front["loadBalancerClass"], front["externalTrafficPolicy"]) == ("service.k8s.aws/nlb", "Local")
    (tls,) = of_kind("Ingress", OWN, "gateway.ingress.tlsSecretName=cert")
    assert tls["spec"]["tls"] == [{"secretName": "cert"}]


def test_a_gateway_of_the_gateway_api_sends_to_the_service() -> None:
    """Its route goes to the port that the Service has, with or without TLS, and ends no stream."""
    for settings in ((), ("gateway.tls.secretName=cert",)):
        (route,) = of_kind("HTTPRoute", OWN, *settings)
        (front,) = (s for s in of_kind("Service", OWN, *settings) if s["metadata"]["name"].endswith("-gateway"))
        (rule,) = route["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        assert backend == {"name": front["metadata"]["name"], "port": front["spec"]["ports"][0]["port"]}
        assert rule["timeouts"] == {"request": "0s"}
        assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert not of_kind("HTTPRoute", scenario("bare"))


def test_gpus_may_be_claimed_of_a_driver() -> None:
    """The claim stands in the pod and in its container, Ray counts the GPU, and no device plugin is asked."""
    pod = pods(OWN)["claimed"]
    assert pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    (container,) = pod["containers"]
    assert container["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert worker_groups(ray_service(OWN))["claimed"]["rayStartParams"]["num-gpus"] == "1"


def test_rays_own_metrics_are_scraped() -> None:
    """Of every pod, by the port that each has under that name."""
    (monitor,) = of_kind("PodMonitor", OWN)
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for template in pod_templates(OWN).values():
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}


def test_weights_that_are_only_read() -> None:
    """Nothing is written beside them, and nothing fetched: what is compiled goes to the pod's own disk."""
    (container,) = pods(ROX)["hgx"]["containers"]
    (cache,) = (mount for mount in container["volumeMounts"] if mount["name"] == "model-cache")
    assert cache["readOnly"] is True
    env = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    names = ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "HF_MODULES_CACHE")
    written = [env[name] for name in names]
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert all(any(Path(path).is_relative_to(mount) for mount in writable) for path in written)
    assert not any(Path(path).is_relative_to(cache["mountPath"]) for path in written)
    assert (env["HF_HOME"], env["HF_HUB_OFFLINE"]) == ("/var/cache/rackserve/huggingface", "1")


def test_pods_download_what_may_run_in_their_group_before_they_join() -> None:
    """By the model's group and need for GPUs, behind the group's own init containers, into replicas' cache.

    Folders and weights that an engine streams are left to it; a pod for which nothing is left has no such container.
    """
    warmed = {}
    for group, pod in pods(WARM).items():
        for container in pod.get("initContainers", ()):
            if container["name"] == "warm-cache":
                warmed[group] = container["args"]
                (main,) = (each for each in pod["containers"] if each["name"] == "ray-worker")
                assert (container["env"], container["volumeMounts"]) == (main["env"], main["volumeMounts"])
                assert container["command"] == ["rackserve", "models", "warm"]
    both = ["deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"]
    assert warmed == {"hgx": ["Qwen/Qwen3-8B@main", *both], "single": both}
    assert [each["name"] for each in pods(WARM)["single"]["initContainers"]] == ["first", "warm-cache"]


CPU = "groups[0].name=a,groups[0].profile=cpu"
REFUSED = {
    "a selecting label": (
        "podLabels.app\\.kubernetes\\.io/component=x",
        'podLabels.app.kubernetes.io/component: "x", but objects find pods by this label; take another key',
    ),
    "a group's selecting label": (
        f"{CPU},groups[0].podLabels.rackserve\\.io/group=b",
        'groups[0].podLabels.rackserve.io/group: "b", but objects find pods by this label; take another key',
    ),
    "a mount twice": (
        f"{CPU},groups[0].volumeMounts[0].mountPath=/x,groups[0].volumeMounts[1].mountPath=/x",
        'groups[0].volumeMounts[1].mountPath: "/x" is also groups[0].volumeMounts[0]; keep one',
    ),
    "a share of a CPU": ("groups[0].name=a,groups[0].memory=1Gi,groups[0].cpu=500m", 'groups[0].cpu: "500m"; must be'),
    "downloads where nothing can be written": (
        "modelCache.type=hostPath,modelCache.readOnly=true,modelCache.warm=true",
        "modelCache.warm: true with modelCache.readOnly, where nothing can be downloaded; take one of them",
    ),
    "warming that is not the chart's": (
        "clusterFile.cluster.warm_cache=true",
        "clusterFile.cluster.warm_cache: true, which `rackserve serve` and `up` act on; here take modelCache.warm",
    ),
    "weights that are not there": (
        "modelCache.readOnly=true",
        "modelCache.readOnly: true with modelCache.type emptyDir, which has nothing in it; take pvc or hostPath",
    ),
}
"""What is wrong → settings, and what the chart must say."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_told(name: str) -> None:
    """The key, its value, and what would be right."""
    settings, message = REFUSED[name]
    done = helm("4.1", "template", "demo", CHART, "--set", settings)
    assert done.returncode != 0
    assert message in done.stderr
