"""Bad values fail at render, and the message says which key, what it is and what would be right."""

import pytest

from tests.integration.helm.chart import CHART, HELM_VERSIONS, helm, scenario

SEMANTIC: dict[str, tuple[str, list[str], str]] = {
    "too many trays in a rack": (
        "gb300-rack",
        ["scale.rack-0.replicas=19"],
        "groups[0] (rack-0): replicas (or max) is 19, but its NVLink domain has 72 GPUs, 4 a node: at most 18 nodes",
    ),
    "a group that is not there": (
        "gb300-rack",
        ["scale.rack-9.replicas=3"],
        "scale.rack-9: there is no such group; groups: gateway, rack-0",
    ),
    "a model that is not there": (
        "gpu",
        ["models.cat.max=3"],
        "models.cat: there is no such model; models: chat, org/code",
    ),
    "min above max": (
        "gpu",
        ["models.chat.min=9"],
        "models.chat: min is 9 and max 2; min <= max and max >= 1 must hold (clusterFile.models[0].replicas",
    ),
    "tensor parallelism beyond a domain": (
        "gb300-rack",
        ["clusterFile.models[0].name=r1,clusterFile.models[0].source=x,clusterFile.models[0].parallel.tensor=96"],
        "clusterFile.models[0].parallel.tensor: 96, but the largest NVLink domain of these groups (rack-0) has 68 GPUs",
    ),
    "node bounds without an autoscaler": (
        "gb300-rack",
        ["scale.rack-0.max=18"],
        "scale.rack-0.max: 18, but nothing scales nodes while autoscaler.enabled is false; give replicas, or set",
    ),
    "replicas outside the bounds": (
        "gb200-autoscaler",
        ["scale.rack-0.min=5"],
        "scale.rack-0: replicas is 4, min 5 and max 18; min <= replicas <= max must hold",
    ),
    "an unknown profile": (
        "gb300-rack",
        ["groups[0].name=a,groups[0].profile=gb400"],
        'groups[0].profile: there is no profile "gb400"; profiles: cpu, gb200, gb300, gpu, hgx',
    ),
    "two groups of one name": (
        "gb300-rack",
        ["groups[1].name=rack-0,groups[1].profile=gpu"],
        'groups[1].name: "rack-0" is taken; each group needs a name of its own',
    ),
    "what the chart sets itself": (
        "gpu",
        ["clusterFile.gateway.replicas=4"],
        "clusterFile.gateway.replicas: 4, but the chart sets this key; remove it: it is every_node, so that gateways",
    ),
    "a port that is taken": (
        "gpu",
        ["clusterFile.cluster.serve_port=8000"],
        "clusterFile.cluster.serve_port: 8000 is already clusterFile.gateway.port; give it another port",
    ),
    "one of Ray's ports": (
        "gpu",
        ["clusterFile.gateway.admin_port=8080"],
        "clusterFile.gateway.admin_port: 8080 is already Ray's metrics; give it another port",
    ),
    "a tenant without a key": (
        "tenants-tls",
        ["gateway.tenantKeys.secretName="],
        'clusterFile.gateway.tenants[0]: "acme" has no key; give key_sha256, or the Secret that has it as',
    ),
    "a model without weights": (
        "gpu",
        ["clusterFile.models[0].source="],
        'clusterFile.models[0].source: missing for "chat"; a Hugging Face id, a folder or a built-in name',
    ),
    "an external Redis without an address": (
        "hgx-redis",
        ["gcs.redis.address="],
        "gcs.redis.address: empty with gcs.backend redis; give redis://HOST:PORT",
    ),
    "token authentication on an old Ray": (
        "gpu",
        ["rayVersion=2.51.0"],
        "rayVersion: 2.51.0, but auth.enabled needs Ray 2.52.0 or later",
    ),
    "a long name": (
        "gpu",
        [f"fullnameOverride={'a' * 41}"],
        "of 41 characters; at most 40 leave room for what KubeRay appends",
    ),
    "a name Kubernetes refuses": (
        "gpu",
        ["fullnameOverride=7B_model"],
        'fullnameOverride: the objects\' name would be "7B_model"; it must be a DNS-1035 label',
    ),
    "a claim without a name": (
        "gb300-rack",
        ["modelCache.claimName="],
        "modelCache.claimName: empty with modelCache.type pvc; give the claim's name",
    ),
    "an Ingress for no host": (
        "tenants-tls",
        ["gateway.ingress.host="],
        "gateway.ingress.host: empty with gateway.ingress.enabled true; give the host name apps use",
    ),
    "a domain label beside gpuDomain": (
        "gb300-rack",
        ["groups[0].name=a,groups[0].profile=gb300,groups[0].labels.ray\\.io/gpu-domain=x"],
        'groups[0].labels: ray.io/gpu-domain is "x"; give it as groups[0].gpuDomain',
    ),
    "a compute domain over several racks": (
        "gb300-rack",
        ["groups[0].name=a,groups[0].profile=gb300,groups[0].cliqueAffinity=false"],
        "groups[0].cliqueAffinity: false with computeDomain true; a ComputeDomain does not keep pods in one rack",
    ),
    "a Deployment under a secret that KubeRay names": (
        "gateway-hpa",
        ["auth.secretName="],
        "auth.secretName: empty with gateway.workload Deployment; KubeRay would make a Secret under a name that",
    ),
    "a Deployment between two clusters": (
        "gateway-hpa",
        ["upgradeStrategy.type=NewCluster"],
        "upgradeStrategy.type: NewCluster with gateway.workload Deployment; a second cluster would wait for gateways",
    ),
    "an HPA for a worker group": (
        "gpu",
        ["gateway.autoscaling.by=hpa"],
        "gateway.autoscaling.by: hpa, but nothing but KubeRay can scale a worker group; set gateway.workload to",
    ),
    "a number beside an autoscaler": (
        "gateway-keda",
        ["scale.gateway.replicas=5"],
        "scale.gateway.replicas: 5, but gateway.autoscaling.by is keda, which sets their number; give",
    ),
    "bounds in the wrong place": (
        "gateway-hpa",
        ["autoscaler.enabled=true,scale.gateway.max=5"],
        "scale.gateway: min and max are for Ray's autoscaler, which does not scale a Deployment",
    ),
    "gateways' bounds crossed": (
        "gateway-hpa",
        ["gateway.autoscaling.min=13"],
        "gateway.autoscaling: min is 13 and max 12; min <= max must hold",
    ),
    "CPU that is never used": (
        "gateway-hpa",
        ["gateway.resources.limits.cpu=1400m"],
        "gateway.resources.limits.cpu: 1400m, but more pods are asked for at 1400m (gateway.processes x",
    ),
    "KEDA without Prometheus": (
        "gateway-keda",
        ["gateway.autoscaling.keda.serverAddress="],
        "gateway.autoscaling.keda.serverAddress: empty with gateway.autoscaling.by keda; give Prometheus' address",
    ),
}
"""What is wrong → scenario, settings, and what the message must say."""

TYPED: dict[str, tuple[str, tuple[str, str]]] = {
    "text for a number": ("gateway.processes=x", ("processes", "integer")),
    "an unknown key": ("clusterFile.gateway.prot=1", ("clusterFile", "prot")),
    "an unknown key of the chart": ("gatway.replicas=1", ("gatway", "not allowed")),
    "an unknown policy": (
        "clusterFile.models[0].name=a,clusterFile.models[0].policy=magic",
        ("policy", "expected_ttft"),
    ),
    "an unknown engine": ("clusterFile.models[0].name=a,clusterFile.models[0].engine=tgi", ("engine", "vllm")),
    "an upgrade KubeRay does not know": ("upgradeStrategy.type=Rolling", ("upgradeStrategy", "NewCluster")),
    "a port out of range": ("clusterFile.gateway.port=70000", ("port", "535")),
    "an unknown workload": ("gateway.workload=DaemonSet", ("workload", "Deployment")),
    "an unknown autoscaler": ("gateway.autoscaling.by=cron", ("by", "keda")),
    "a negative count": ("scale.gpu.replicas=-1", ("replicas", "0")),
}
"""What the schema finds: the setting, and the key and the expectation that both Helm versions must name."""


@pytest.mark.parametrize("version", HELM_VERSIONS)
@pytest.mark.parametrize("name", SEMANTIC)
def test_values_that_cannot_work_are_told(version: str, name: str) -> None:
    """The key, its value, and what would be right."""
    values, settings, message = SEMANTIC[name]
    done = helm(version, "template", "demo", CHART, "-f", scenario(values), *(f"--set={s}" for s in settings))
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("version", HELM_VERSIONS)
@pytest.mark.parametrize("name", TYPED)
def test_values_of_the_wrong_kind_are_told(version: str, name: str) -> None:
    """Helm itself names the key and what the schema wants there."""
    setting, words = TYPED[name]
    done = helm(version, "template", "demo", CHART, "--set", setting)
    assert done.returncode != 0
    assert all(word in done.stderr for word in words), done.stderr


def test_all_mistakes_are_told_at_once() -> None:
    """One render, one list."""
    wrong = ("gcs.backend=redis", "scale.x.replicas=1", "models.y.min=1", "rayVersion=2.51.0")
    done = helm("4.1", "template", "demo", CHART, *(f"--set={setting}" for setting in wrong))
    assert "4 problem(s) in the values" in done.stderr
