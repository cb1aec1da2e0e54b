"""What the pods are: racks with their NVLink domains, gateways, the head; and what they may not do."""

import json
from pathlib import Path

import pytest
import yaml

from cluster.placement.gang import Gang, PlacedGang, WhyNot
from cluster.placement.node_labels import live_node
from cluster.placement.placement import Placement
from cluster.placement.topology import Topology
from cluster.spec.cluster_spec import ClusterSpec
from deployments import app
from deployments.replica.memory_lock import LOCKS_MEMORY
from tests.integration.helm.chart import (
    ALL_VALUES,
    CHART,
    Manifest,
    of_kind,
    pod_templates,
    pods,
    ray_service,
    render,
    scenario,
    worker_groups,
)

every_values_file = pytest.mark.parametrize("values", ALL_VALUES, ids=lambda file: file.stem)


def spec_of(service: Manifest) -> ClusterSpec:
    """Return the spec that Serve's builder makes of a RayService, as the head does."""
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    assert application["import_path"] == "deployments.app:build"
    return app.spec_from(application["args"])


@every_values_file
def test_the_cluster_file_is_one_that_runs(values: Path) -> None:
    """It passes the very checks of `rackserve serve`, and a pod has a port for each gateway that it gets."""
    service = ray_service(values)
    spec = spec_of(service)
    ports = {port["name"]: port["containerPort"] for port in pods(values)["gateway"]["containers"][0]["ports"]}
    first = spec.gateway.admin_port
    assert spec.gateway.replicas == "every_node"
    assert [port for name, port in ports.items() if name.startswith("admin-")] == [
        first + process for process in range(spec.gateway.per_node or 0)
    ]
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["http_options"]["port"] == spec.cluster.serve_port
    ports = {port["name"]: port["containerPort"] for port in pods(values)["head"]["containers"][0]["ports"]}
    assert ports["serve"] == spec.cluster.serve_port


def test_every_key_survives_the_rendering() -> None:
    """Nothing of the cluster file is lost, renamed or turned into another type on its way through Helm."""
    given = yaml.safe_load(scenario("gpu").read_text())["clusterFile"]["models"]
    rendered = spec_of(ray_service(scenario("gpu"), "clusterFile.gateway.max_body_bytes=1073741824"))
    assert rendered.gateway.max_body_bytes == 1024**3
    assert [model.model_dump(include=set(raw)) for model, raw in zip(rendered.models, given, strict=True)] == [
        ClusterSpec.model_validate({"models": given}).models[n].model_dump(include=set(raw))
        for n, raw in enumerate(given)
    ]


def test_a_group_a_rack_each_with_its_domain() -> None:
    """Ray learns a node's NVLink domain from its group's labels, and from nowhere else."""
    groups = worker_groups(ray_service(scenario("gb300-two-racks")))
    assert list(groups) == ["gateway", "rack-0", "rack-1"]
    assert [groups[name]["labels"].get("ray.io/gpu-domain") for name in groups] == [
        None,
        "cluster-7f3a.0",
        "cluster-7f3a.1",
    ]
    one_rack = worker_groups(ray_service(scenario("gb300-rack")))
    assert one_rack["rack-0"]["labels"]["ray.io/gpu-domain"] == "rack-0"
    assert "ray.io/gpu-domain" not in worker_groups(ray_service(CHART / "values-cpu.yaml"))["cpu"]["labels"]


def test_a_box_is_a_domain_of_its_own() -> None:
    """Machines whose NVLink ends at the machine share no domain: a tensor group stays on one of them."""
    groups = worker_groups(ray_service(scenario("pools")))
    nodes = [
        live_node(f"{name}-{number}", group["labels"], gpus, gpus).node
        for name, gpus in (("rack-0", 4), ("boxes", 8))
        for group in [groups[name]]
        for number in range(group["replicas"])
    ]
    assert [(node.domain, node.rack) for node in nodes] == [
        ("rack-0", "rack-0"),
        ("rack-0", "rack-0"),
        ("boxes-0", "boxes"),
        ("boxes-1", "boxes"),
    ]
    placement = Placement(Topology.of(nodes))
    six, four = (placement.place(Gang(name, name, gpus)) for name, gpus in (("six", 6), ("four", 4)))
    assert isinstance(six, PlacedGang)
    assert isinstance(four, PlacedGang)
    assert [len(set(gang.nodes)) for gang in (six, four)] == [2, 1]  # a rack's machines share their NVLink
    boxes = Placement(Topology.of(nodes[2:]))
    for number in range(2):
        placed = boxes.place(Gang(f"g{number}", "g", 6))
        assert isinstance(placed, PlacedGang)
        assert len(set(placed.nodes)) == 1
    told = boxes.place(Gang("large", "large", 16))
    assert isinstance(told, WhyNot)
    assert "needs 16 GPUs in one domain; the largest domain, boxes-0, has 8" in told.message


@pytest.mark.parametrize(
    ("settings", "domain", "rack"),
    [
        ("profile=hgx", None, "a"),
        ("profile=hgx,gpus=4", None, "a"),
        ("profile=gpu,gpus=4", None, "a"),
        ("gpus=4,cpu=8,memory=8Gi", None, "a"),
        ("profile=gb200", "a", None),
        ("gpus=4,cpu=8,memory=8Gi,domainGpus=16", "a", None),
        ("gpus=4,cpu=8,memory=8Gi,gpuDomain=x", "x", None),
        ("profile=cpu", None, None),
    ],
)
def test_a_domain_is_what_shares_nvlink(settings: str, domain: str | None, rack: str | None) -> None:
    """The label stands where a domain has more GPUs than a node, or where the values name the domain."""
    first = ",".join(f"groups[0].{setting}" for setting in ["name=a", *settings.split(",")])
    labels = worker_groups(ray_service(CHART / "values.yaml", first))["a"]["labels"]
    assert (labels.get("ray.io/gpu-domain"), labels.get("rackserve.io/rack")) == (domain, rack)


def test_a_gb300_pod_claims_its_rack() -> None:
    """Four GPUs, RDMA, the rack's compute domain, Arm nodes, and all pods of a group in one NVLink clique."""
    values = scenario("gb300-two-racks")
    for name in ("rack-0", "rack-1"):
        pod = pods(values)[name]
        (container,) = pod["containers"]
        assert container["resources"]["limits"] == {"cpu": 128, "memory": "800Gi", "nvidia.com/gpu": 4, "rdma/ib": 4}
        (claim,) = pod["resourceClaims"]
        assert container["resources"]["claims"] == [{"name": claim["name"]}]
        (domain,) = (
            d for d in of_kind("ComputeDomain", values) if d["metadata"]["labels"]["rackserve.io/group"] == name
        )
        assert domain["apiVersion"] == "resource.nvidia.com/v1beta1"
        assert domain["spec"]["numNodes"] == 0
        assert domain["spec"]["channel"]["resourceClaimTemplate"]["name"] == claim["resourceClaimTemplateName"]
        (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        labels = worker_groups(ray_service(values))[name]["template"]["metadata"]["labels"]
        assert term["topologyKey"] == "nvidia.com/gpu.clique"
        assert term["labelSelector"]["matchLabels"].items() <= labels.items()
        assert term["labelSelector"]["matchLabels"]["rackserve.io/group"] == name
        assert pod["nodeSelector"]["kubernetes.io/arch"] == "arm64"
        assert {"key": "kubernetes.io/arch", "operator": "Equal", "value": "arm64", "effect": "NoSchedule"} in pod[
            "tolerations"
        ]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}


def test_plain_and_cpu_nodes_claim_nothing_special() -> None:
    """Neither compute domains nor RDMA where a profile has none; no GPU on a laptop."""
    for values, name, gpus in ((scenario("gpu"), "l40s", 1), (CHART / "values-cpu.yaml", "cpu", None)):
        assert not of_kind("ComputeDomain", values)
        pod = pods(values)[name]
        assert "resourceClaims" not in pod
        limits = pod["containers"][0]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == gpus
        assert not [resource for resource in limits if resource.startswith("rdma/")]


def test_a_groups_own_keys_win_over_its_profile() -> None:
    """False, zero and null count as given."""
    found = pods(scenario("gb200-autoscaler"))
    assert "rdma/ib" in found["rack-0"]["containers"][0]["resources"]["limits"]
    assert "rdma/ib" not in found["burst"]["containers"][0]["resources"]["limits"]
    settings = [
        f"groups[0].{setting}" for setting in ("name=a", "profile=gb300", "computeDomain=false", "cliqueAffinity=false")
    ]
    pod = pods(CHART / "values.yaml", *settings)["a"]
    assert "resourceClaims" not in pod
    assert "affinity" not in pod


@every_values_file
def test_every_container_is_confined(values: Path) -> None:
    """Not root, no new privileges, a read-only root file system with /tmp beside it, the default seccomp profile."""
    for name, pod in pods(values).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"]["drop"] == ["ALL"]
            may_lock = context["capabilities"].get("add", []) == ["IPC_LOCK"]
            assert (context.get("runAsUser", pod["securityContext"]["runAsUser"]) == 0) is may_lock
            mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert {"tmp", "home"} <= set(mounted.values())
            assert set(mounted.values()) <= {volume["name"] for volume in pod["volumes"]}


def pod_security_level(pod: Manifest) -> str:
    """Return the strictest of Kubernetes' Pod Security Standards that a pod passes."""
    containers = (*pod["containers"], *pod.get("initContainers", ()))
    contexts = [pod["securityContext"] | container["securityContext"] for container in containers]
    added = {name for context in contexts for name in context.get("capabilities", {}).get("add", ())}
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    if pod.get("hostNetwork") or "hostPath" in kinds or added - {"NET_BIND_SERVICE", "CHOWN", "SETUID", "SETGID"}:
        return "privileged"
    restricted = kinds <= {"emptyDir", "secret", "configMap", "persistentVolumeClaim", "projected"} and all(
        context.get("runAsNonRoot") is True
        and context.get("runAsUser") != 0
        and context.get("allowPrivilegeEscalation") is False
        and context["capabilities"]["drop"] == ["ALL"]
        and context["seccompProfile"]["type"] in {"RuntimeDefault", "Localhost"}
        for context in contexts
    )
    return "restricted" if restricted else "baseline"


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ("profile=cpu", "restricted"),
        ("profile=gpu", "restricted"),
        ("profile=hgx", "privileged"),
        ("profile=gb200", "privileged"),
        ("profile=gb300", "privileged"),
        ("profile=hgx,rdma.resource=rdma/ib,rdma.count=8,rdma.memlock=node", "restricted"),
        ("profile=gb300,rdma=null", "restricted"),
        ("profile=gpu,securityContext.runAsUser=0,securityContext.runAsNonRoot=false", "baseline"),
    ],
)
def test_each_profile_has_its_pod_security_level(settings: str, level: str) -> None:
    """As the README's table has it; head and gateways pass `restricted` whatever replicas need."""
    first = ",".join(f"groups[0].{setting}" for setting in ["name=a", *settings.split(",")])
    found = {name: pod_security_level(pod) for name, pod in pods(CHART / "values.yaml", first).items()}
    assert found == {"a": level, "head": "restricted", "gateway": "restricted"}


def test_rdma_has_the_right_to_lock_memory_and_its_replica_looks() -> None:
    """IPC_LOCK comes with the only user who has any use of it; the replica checks, with the capability and without."""
    found = []
    for setting in ("rdma=null", "cpu=96", "rdma.resource=rdma/ib,groups[0].rdma.count=8,groups[0].rdma.memlock=node"):
        settings = f"groups[0].name=a,groups[0].profile=hgx,groups[0].{setting}"
        (container,) = pods(CHART / "values.yaml", settings)["a"]["containers"]
        context = container["securityContext"]
        checks = {"name": LOCKS_MEMORY, "value": "1"} in container["env"]
        found.append((context.get("runAsUser"), context["capabilities"].get("add"), checks))
    assert found == [(None, None, False), (0, ["IPC_LOCK"], True), (None, None, True)]


def test_a_groups_security_context_wins_key_by_key() -> None:
    """What a group says of pod and container lies over the values for all; the rest of those stays."""
    first = "groups[0].name=a,groups[0].profile=gpu,groups[0].securityContext.readOnlyRootFilesystem=false"
    pod = pods(CHART / "values.yaml", f"{first},groups[0].podSecurityContext.fsGroup=2000")["a"]
    assert (pod["securityContext"]["fsGroup"], pod["securityContext"]["runAsUser"]) == (2000, 1000)
    context = pod["containers"][0]["securityContext"]
    assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (False, False)


@every_values_file
def test_a_pod_outlives_its_answers(values: Path) -> None:
    """Kubernetes' grace is longer than any drain within the pod, and the hook that drains ends before it."""
    spec = spec_of(ray_service(values))
    for name, pod in pods(values).items():
        if name == "head":
            continue
        drain_s = spec.gateway.drain_timeout_s if name == "gateway" else max(m.drain_timeout_s for m in spec.models)
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:3] == ["rackserve", "drain-node", "--timeout"]
        # Serve itself gives a stopping replica 10 s more than its drain time.
        assert drain_s + 10 < int(command[3]) < pod["terminationGracePeriodSeconds"]


@every_values_file
def test_traffic_reaches_ready_gateways_only(values: Path) -> None:
    """The Service selects the gateways' pods and no others; they are ready when their gateway says so."""
    (front,) = (s for s in of_kind("Service", values) if s["metadata"]["name"].endswith("-gateway"))
    assert selected_pods(front, values) == {"gateway"}
    container = pods(values)["gateway"]["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    (port,) = (port for port in container["ports"] if port["name"] == front["spec"]["ports"][0]["targetPort"])
    assert port["containerPort"] == spec_of(ray_service(values)).gateway.port


def selected_pods(service: Manifest, values: Path) -> set[str]:
    """Return the groups whose pods a Service selects."""
    selector = service["spec"]["selector"].items()
    return {name for name, pod in pod_templates(values).items() if selector <= pod["metadata"]["labels"].items()}


def test_keys_and_certificates_come_from_secrets() -> None:
    """A tenant's key and the certificate are files of mounted Secrets; no value holds either."""
    values = scenario("tenants-tls")
    service = ray_service(values)
    spec = spec_of(service)
    pod = pods(values)["gateway"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    acme, root = spec.gateway.tenants
    assert secrets[mounts[str(Path(acme.key_file).parent)]] == "llm-tenants"
    assert Path(acme.key_file).name == "acme"
    assert root.key_sha256
    assert spec.gateway.tls is not None
    assert secrets[mounts[str(Path(spec.gateway.tls.cert_file).parent)]] == "llm-tls"
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    for name in ("head", "gpu"):
        assert not [volume for volume in pods(values)[name]["volumes"] if "secret" in volume]


def test_budgets_are_what_kubernetes_can_count() -> None:
    """A number that must stay, since KubeRay's pods have no scale: one less than run; none where that is zero."""
    budgets = {b["metadata"]["name"]: b["spec"] for b in of_kind("PodDisruptionBudget", scenario("gb300-two-racks"))}
    assert {name: spec["minAvailable"] for name, spec in budgets.items()} == {
        "demo-rackserve-gateway": 3,
        "demo-rackserve-rack-0": 17,
        "demo-rackserve-rack-1": 8,
    }
    assert not of_kind("PodDisruptionBudget", scenario("bare"))


def test_who_may_reach_what() -> None:
    """Apps: the gateways' port. Monitoring: metrics. The operator: the head. Everybody else: nothing."""
    policies = {p["metadata"]["name"]: p["spec"] for p in of_kind("NetworkPolicy", scenario("tenants-tls"))}
    assert set(policies) == {"llm-cluster", "llm-head", "llm-gateway", "llm-models"}
    assert "ingress" not in policies.pop("llm-models")
    reach = {
        name: [(rule.get("from", "anybody"), [p["port"] for p in rule.get("ports", ())]) for rule in spec["ingress"]]
        for name, spec in policies.items()
    }
    ingress_controller = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
    assert reach["llm-gateway"][0] == (ingress_controller, [8000])
    assert [ports for _, ports in reach["llm-gateway"]] == [[8000], [8002]]
    assert [ports for _, ports in reach["llm-head"]] == [[8265, 8001]]
    assert reach["llm-cluster"][0] == ([{"podSelector": policies["llm-cluster"]["podSelector"]}], [])
    assert "anybody" not in [peers for rules in reach.values() for peers, _ in rules]
    assert len(policies["llm-cluster"]["egress"]) == 2  # each other and DNS


def test_no_secret_is_rendered() -> None:
    """The chart makes no Secret and writes no password into a pod: it only names Secrets."""
    for values in ALL_VALUES:
        assert not [manifest for manifest in render("4.1", values) if manifest["kind"] == "Secret"]
    head = json.dumps(ray_service(scenario("hgx-redis"))["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"])
    assert json.loads(head)["redisPassword"] == {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}


@every_values_file
def test_rays_authentication_is_said_either_way(values: Path) -> None:
    """KubeRay's mode, and for `disabled` each pod's too: a token file in an image would count on the head alone."""
    service = ray_service(values)
    mode = service["spec"]["rayClusterConfig"]["authOptions"]["mode"]
    told = {
        variable["value"]
        for pod in pods(values).values()
        for container in pod["containers"][:1]
        for variable in container["env"]
        if variable["name"] == "RAY_AUTH_MODE"
    }
    assert told == {"disabled"} if mode == "disabled" else told <= {"token"}
