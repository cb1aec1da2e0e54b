"""Where pods may connect to follows what is switched on: nothing is forgotten, and nothing else is open."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.helm.chart import CHART, of_kind, scenario

CLOSED = scenario("closed-network")
ANYWHERE = "anywhere"


def egress(policy: str, values: Path, *settings: str) -> list[tuple[Any, list[int]]]:
    """Return where a policy lets its pods connect to: peers and ports of each rule; [] if there is no policy."""
    specs = [p["spec"] for p in of_kind("NetworkPolicy", values, *settings) if p["metadata"]["name"].endswith(policy)]
    return [
        (rule.get("to", ANYWHERE), [port["port"] for port in rule.get("ports", ())])
        for spec in specs
        for rule in spec.get("egress", ())
    ]


def written(tmp_path: Path, text: str) -> Path:
    """Return a values file."""
    file = tmp_path / "values.yaml"
    file.write_text(text)
    return file


def test_names_are_looked_up_everywhere() -> None:
    """DNS on 53, and on 5353, where OpenShift's DNS pods listen; by UDP and TCP."""
    (policy,) = (p["spec"] for p in of_kind("NetworkPolicy", CLOSED) if p["metadata"]["name"].endswith("-cluster"))
    dns = policy["egress"][1]["ports"]
    assert {(port["port"], port["protocol"]) for port in dns} == {
        (port, protocol) for port in (53, 5353) for protocol in ("UDP", "TCP")
    }


def test_the_head_reaches_its_state_and_the_api_server() -> None:
    """Redis where `gcs` says, the API server where Ray's autoscaler asks for nodes; neither where they are off."""
    storage = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "storage"}}}]
    assert egress("-head", CLOSED) == [(storage, [6380]), (ANYWHERE, [443, 6443])]
    assert egress("-head", scenario("hgx-redis")) == [(ANYWHERE, [6379])]
    assert egress("-head", scenario("gb200-autoscaler")) == [(ANYWHERE, [443, 6443])]
    assert egress("-head", CHART / "values.yaml") == []


def test_traces_and_proxies_are_reached() -> None:
    """The addresses that the environment names, on any layer; for one that a ConfigMap holds, its usual ports."""
    (own, _), _, *rules = egress("-cluster", CLOSED)
    assert "podSelector" in own[0]
    assert rules == [
        (ANYWHERE, [4317]),
        (ANYWHERE, [4317, 4318]),
        ([{"ipBlock": {"cidr": "10.20.0.5/32"}}], [3128]),
    ]


def test_replicas_reach_what_they_fetch() -> None:
    """The hub, or the mirror that stands for it; hosts of images, on their ports."""
    assert sorted(ports for _, ports in egress("-models", CLOSED)) == [[80], [443], [8443], [8444]]
    assert egress("-models", scenario("gb300-rack")) == [(ANYWHERE, [443])]


@pytest.mark.parametrize(
    "text",
    [
        "clusterFile: {models: [{name: a, source: /models/a}]}",
        "clusterFile: {models: [{name: a, engine: sim}]}",
        "env: [{name: HF_HUB_OFFLINE, value: '1'}]",
        "clusterFile: {models: [{name: a, source: org/a, env: {HF_HUB_OFFLINE: '1'}}]}",
        "env: [{name: HTTPS_PROXY, value: 'http://proxy.corp:3128'}]",
    ],
    ids=["folder", "simulated", "offline", "offline for one", "by proxy"],
)
def test_nothing_is_open_that_nothing_fetches_from(text: str, tmp_path: Path) -> None:
    """Folders, simulated engines and offline replicas need no hub; with a proxy it is reached there alone."""
    file = written(tmp_path, text)
    assert egress("-models", file) == []
    assert [443] not in [ports for _, ports in egress("-cluster", file)]


@pytest.mark.parametrize(
    ("address", "peer", "port"),
    [
        ("http://collector:4318", None, 4318),
        ("https://collector.example.com/v1", None, 443),
        ("collector.example.com:4317", None, 4317),
        ("http://10.1.2.3", "10.1.2.3/32", 80),
        ("http://[2001:db8::7]:4317", "2001:db8::7/128", 4317),
    ],
)
def test_an_address_is_read_as_programs_read_it(address: str, peer: str | None, port: int, tmp_path: Path) -> None:
    """Scheme, path and port may each be there or not."""
    file = written(tmp_path, f"env: [{{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: '{address}'}}]")
    to = [{"ipBlock": {"cidr": peer}}] if peer else ANYWHERE
    assert egress("-cluster", file)[2:] == [(to, [port])]


def test_a_collector_beside_the_container_needs_no_rule(tmp_path: Path) -> None:
    """A sidecar is in the pod."""
    file = written(tmp_path, "env: [{name: OTEL_EXPORTER_OTLP_ENDPOINT, value: 'http://localhost:4317'}]")
    assert len(egress("-cluster", file)) == 2


def test_own_rules_stand_beside_the_known_ones(tmp_path: Path) -> None:
    """`networkPolicy.egress` adds to what is known; it takes nothing away."""
    rules = "networkPolicy: {egress: [{to: [{ipBlock: {cidr: 10.20.0.0/16}}], ports: [{port: 3128}]}]}"
    file = written(tmp_path, rules)
    assert egress("-cluster", file)[2:] == [([{"ipBlock": {"cidr": "10.20.0.0/16"}}], [3128])]
    assert egress("-models", file) == [(ANYWHERE, [443])]


def test_a_load_balancers_clients_are_apps() -> None:
    """Who may reach the LoadBalancer may reach the pods behind it."""
    (policy,) = (p["spec"] for p in of_kind("NetworkPolicy", CLOSED) if p["metadata"]["name"].endswith("-gateway"))
    assert {"ipBlock": {"cidr": "192.0.2.0/24"}} in policy["ingress"][0]["from"]
