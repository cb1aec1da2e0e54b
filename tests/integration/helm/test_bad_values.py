"""Bad values fail at render, and the message says which key, what it is and what would be right."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.integration.helm.chart import CHART, HELM_VERSIONS, helm, scenario

FIRST = "clusterFile.models[0]"
SEMANTIC: dict[str, tuple[str, list[str], str]] = {
    "too many trays in a rack": (
        "gb300-rack",
        ["scale.rack-0.replicas=19"],
        "groups[0] (rack-0): replicas (or max) is 19, but its NVLink domain has 72 GPUs, 4 a node: at most 18 nodes",
    ),
    "a domain over machines that have one each": (
        "hgx-redis",
        ["groups[0].name=hgx,groups[0].profile=hgx,groups[0].replicas=2,groups[0].gpuDomain=hgx"],
        "groups[0] (hgx): replicas (or max) is 2, but its NVLink domain has 8 GPUs, 8 a node: at most 1 nodes",
    ),
    "tensor parallelism over machines without NVLink": (
        "monitoring",
        [f"{FIRST}.name=chat,{FIRST}.source=Qwen/Qwen3-14B,{FIRST}.parallel.tensor=2"],
        "clusterFile.models[0].parallel.tensor: 2, but the largest NVLink domain of these groups (a node of gpu) has 1",
    ),
    "more gangs than GPUs": (
        "hgx-redis",
        [f"{FIRST}.name=r1,{FIRST}.source=x,{FIRST}.parallel.tensor=8,{FIRST}.parallel.pipeline=2,{FIRST}.replicas=4"],
        "clusterFile.models: their replicas need 64 GPUs at least (r1: 4 x 16), but the groups have 16",
    ),
    "gangs that fit in the GPUs and not in the machines": (
        "hgx-redis",
        [f"{FIRST}.name=odd,{FIRST}.source=x,{FIRST}.parallel.tensor=5,{FIRST}.replicas=3"],
        f"{FIRST}.parallel: 3 replicas are 3 groups of 5 GPUs, each in one NVLink domain, but these groups have",
    ),
    "a pool's gangs beside another's": (
        "pools",
        ["models.chat.pools.decode.min=5,models.chat.pools.decode.max=6,models.chat.pools.prefill.min=3"],
        "clusterFile.models: their replicas need 26 GPUs at least (chat:prefill: 3 x 2, chat:decode: 5 x 4), but",
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
    "a pool that is not there": (
        "pools",
        ["models.chat.pools.prefil.max=3"],
        "models.chat.pools.prefil: there is no such pool; pools: prefill, decode",
    ),
    "min above max in a pool": (
        "pools",
        ["models.chat.pools.prefill.min=9"],
        "models.chat.pools.prefill: min is 9 and max 6; min <= max and max >= 1 must hold (clusterFile.models[0].",
    ),
    "two pools of one name": (
        "gpu",
        [f"{FIRST}.name=chat,{FIRST}.engine=sim,{FIRST}.pools[0].name=a,{FIRST}.pools[1].name=a"],
        'clusterFile.models[0].pools[1].name: "a" is taken; names are unique in a model',
    ),
    "a pool without the other half": (
        "gpu",
        [f"{FIRST}.name=chat,{FIRST}.engine=sim,{FIRST}.pools[0].name=a,{FIRST}.pools[0].role=prefill"],
        'clusterFile.models[0].pools[0].role: "prefill" needs another pool whose role is "decode" or "both"',
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
    "a domain label beside gpuDomain": (
        "gb300-rack",
        ["groups[0].name=a,groups[0].profile=gb300,groups[0].labels.ray\\.io/gpu-domain=x"],
        'groups[0].labels: ray.io/gpu-domain is "x"; give it as groups[0].gpuDomain',
    ),
    "a capability without effect": (
        "gb300-rack",
        ["groups[0].name=a,groups[0].profile=gb300,groups[0].replicas=17,groups[0].securityContext.runAsUser=1000"],
        "groups[0].securityContext.runAsUser: 1000 with rdma.memlock capability, but IPC_LOCK has no effect",
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

TYPED: dict[str, tuple[str, str]] = {
    "text for a number": ("gateway.processes=x", 'gateway.processes: "x"; must be a whole number from 1 to 64'),
    "an unknown key": (
        "clusterFile.gateway.prot=1",
        "clusterFile.gateway.prot: 1; there is no such key; keys: access_log,",
    ),
    "an unknown key of the chart": ("gatway.replicas=1", 'gatway: {"replicas":1}; there is no such key; keys: annot'),
    "an unknown policy": (
        "clusterFile.models[0].name=a,clusterFile.models[0].policy=magic",
        'clusterFile.models[0].policy: "magic"; must be one of consistent_hash, expected_ttft,',
    ),
    "an unknown engine": (
        "clusterFile.models[0].name=a,clusterFile.models[0].engine=tgi",
        'clusterFile.models[0].engine: "tgi"; must be one of vllm, sim',
    ),
    "neither a number nor the word": (
        "clusterFile.gateway.replicas=some",
        'clusterFile.gateway.replicas: "some"; must be a whole number from 1 to 256, or every_node',
    ),
    "the wrong keys for a cloud": (
        "clusterFile.launch.provider=gcp,clusterFile.launch.project=7",
        "clusterFile.launch.project: 7; must be text that matches",
    ),
    "an upgrade KubeRay does not know": (
        "upgradeStrategy.type=Rolling",
        'upgradeStrategy.type: "Rolling"; must be one of None, NewCluster',
    ),
    "a port out of range": (
        "clusterFile.gateway.port=70000",
        "clusterFile.gateway.port: 70000; must be a whole number from 0 to 65535",
    ),
    "an unknown workload": (
        "gateway.workload=DaemonSet",
        'gateway.workload: "DaemonSet"; must be one of WorkerGroup, Deployment',
    ),
    "an unknown autoscaler": (
        "gateway.autoscaling.by=cron",
        'gateway.autoscaling.by: "cron"; must be one of none, hpa, keda',
    ),
    "a negative count": ("scale.gpu.replicas=-1", "scale.gpu.replicas: -1; must be a whole number from 0 to 10000"),
    "a name Kubernetes would refuse": (
        "groups[0].name=Rack_0",
        'groups[0].name: "Rack_0"; must be text that matches ^[a-z]',
    ),
    "a number for a mapping": ("serviceAccount=3", "serviceAccount: 3; must be a mapping"),
}
"""What the schema finds: the setting, and what the chart must say."""


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
    """The key, its value, and what would be right, here too."""
    setting, message = TYPED[name]
    done = helm(version, "template", "demo", CHART, "--set", setting)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize("version", HELM_VERSIONS)
def test_helms_own_check_is_there_for_who_wants_it(version: str) -> None:
    """With `valuesCheckedBy: helm` Helm refuses by the same schema, in its own words."""
    done = helm(version, "template", "demo", CHART, "--set", "valuesCheckedBy=helm,gateway.processes=x")
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert "processes" in done.stderr


def test_the_chart_refuses_what_the_schema_refuses(tmp_path: Path) -> None:
    """Sixty values files with one thing changed at random: the chart's templates judge each as `jsonschema` does."""
    rng = random.Random(4)
    schema = json.loads((CHART / "schema" / "values.json").read_text())
    sound = yaml.safe_load(scenario("gateway-hpa").read_text()) | {"valuesCheckedBy": "chart"}
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    refused = 0
    for number in range(60):
        values = copy.deepcopy(defaults)
        merge(values, copy.deepcopy(sound))
        where = change(values, rng)
        problems = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(values)]
        file = tmp_path / f"{number}.yaml"
        file.write_text(yaml.safe_dump(values))
        done = helm("4.1", "template", "demo", CHART, "-f", file)
        told = f"\n  {where}" in done.stderr and "; must be " in done.stderr
        assert told is bool(problems), (where, problems, done.stderr)
        refused += told
    assert 20 <= refused <= 50


def merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    """Lay one mapping over another, as Helm does with values files."""
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def change(values: dict[str, Any], rng: random.Random) -> str:
    """Put something else in place of one value that is no mapping, perhaps something sound; return where."""
    here: Any = values
    where = ""
    while True:
        keys = sorted(here.keys() - {"valuesCheckedBy"}) if isinstance(here, dict) else list(range(len(here)))
        key = rng.choice(keys)
        where += f"[{key}]" if isinstance(key, int) else f".{key}" if where else key
        if not isinstance(here[key], dict | list):
            here[key] = rng.choice([7, -3, 1.5, "x y", "some-text", True, [], {"a": 1}, 99_999_999])
            return where
        if not here[key]:
            return where
        here = here[key]


def test_all_mistakes_are_told_at_once() -> None:
    """One render, one list."""
    wrong = ("gcs.backend=redis", "scale.x.replicas=1", "models.y.min=1", "rayVersion=2.51.0")
    done = helm("4.1", "template", "demo", CHART, *(f"--set={setting}" for setting in wrong))
    assert "4 problem(s) in the values" in done.stderr
