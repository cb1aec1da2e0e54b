"""Settings of NCCL, UCX and Gloo: those of `cluster/launch/fabric.py`, on the pods that they are for."""

from pathlib import Path

from cluster.launch.fabric import MULTI_NODE_NVLINK, POD, as_environment
from deployments.chart.fabric import fabric_text
from tests.integration.helm.chart import CHART, pods, scenario

ALL = as_environment((*MULTI_NODE_NVLINK, *POD))


def fabric_of(values: Path, group: str, *settings: str) -> dict[str, str]:
    """Return what a group's pods have of these variables."""
    environment = pods(values, *settings)[group]["containers"][0]["env"]
    return {entry["name"]: entry["value"] for entry in environment if entry["name"] in ALL}


def test_the_file_is_what_the_code_makes() -> None:
    """One place for chart and `rackserve up`."""
    assert (CHART / "schema" / "fabric.json").read_text() == fabric_text(), "run `make helm-docs`"


def test_each_pod_has_what_its_network_needs() -> None:
    """A rack's pods have all; boxes their own network's; pods without GPUs, and the head, nothing."""
    rack = scenario("gb300-two-racks")
    assert fabric_of(rack, "rack-0") == ALL
    assert fabric_of(scenario("hgx-redis"), "hgx") == as_environment(POD)
    assert fabric_of(rack, "head") == fabric_of(CHART / "values-cpu.yaml", "cpu") == {}


def test_the_nodes_own_network_and_the_operators_word_win(tmp_path: Path) -> None:
    """`hostNetwork` has interfaces of other names; a group's `env` stands over the chart's."""
    file = tmp_path / "values.yaml"
    file.write_text("""
groups:
- {name: a, profile: gb300, replicas: 2, hostNetwork: true, env: [{name: NCCL_MNNVL_ENABLE, value: "2"}]}
""")
    assert fabric_of(file, "a") == {**as_environment(MULTI_NODE_NVLINK), "NCCL_MNNVL_ENABLE": "2"}
