"""Gangs of sim engines on two racks of 72 GPUs: where they stand, what waits, and what a lost node takes with it."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.placement import Placement
from cluster.placing.gang import Gang, PlacedGang
from cluster.placing.gang_file import gangs_of_spec
from cluster.spec import ClusterSpec
from cluster.topology import Node, Topology
from deployments import ray_api
from deployments.gangs.live_cluster import host_of, standing_gangs
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for
from tests.integration.gangs.conftest import NODES
from tests.integration.gangs.racks import GPUS_PER_NODE, Racks

HEAD: Mapping[str, Any] = {"node_labels": {"rackserve.io/role": "head"}}
MODELS: Sequence[Mapping[str, Any]] = (
    {"name": "two", "parallel": {"tensor": 8}, "replicas": 2},
    {"name": "sixteen", "parallel": {"tensor": 8, "pipeline": 2}},
    {"name": "rack", "parallel": {"tensor": 72}},
)
ROOT = Path(__file__).parents[3]


def hosts_by_gang() -> dict[str, tuple[str, ...]]:
    """Return each standing gang's host by rank."""
    hosts = {machine.node_id: host_of(machine) for machine in ray_api.machines()}
    return {name: tuple(hosts.get(node, "") for node in placed.nodes) for name, placed in standing_gangs().items()}


def model_of(gang: str) -> str:
    """Return the model a gang is a replica of."""
    return gang.partition("#")[0]


def rackserve(*arguments: str) -> str:
    """Run the command on the tests' cluster."""
    environment = {**os.environ, "RAY_ADDRESS": ray_api.address(), "COLUMNS": "80"}
    command = [sys.executable, "-m", "deployments.cli", *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def application(racks: Racks) -> Iterator[RunningApplication]:  # noqa: ARG001 - must be up
    """Gangs of 8, 8, 16 and 72 GPUs, with a spare node in each domain."""
    spec = spec_of(*MODELS)
    running = RunningApplication(spec)
    try:
        running.deploy(spec)
        running.wait_until_ready()
        wait_for("both replicas of two", lambda: len(running.replicas("two")) == 2)
        yield running
    finally:
        running.delete()


def spec_of(*models: Mapping[str, Any]) -> ClusterSpec:
    """Return the spec with these models."""
    spec = sim_spec(*models, name="racks", **HEAD)
    return ClusterSpec.model_validate({**spec.model_dump(mode="json"), "placement": {"spares_per_domain": 0}})


def test_gangs_land_where_the_pure_placement_says(application: RunningApplication) -> None:
    """8, 8, 16 and 72 GPUs stand just where `cluster.placement` puts them in some order of asking; all answer."""
    topology = Topology.of(
        Node(f"rack-{rack}-n{node}", f"rack-{rack}", f"rack-{rack}", GPUS_PER_NODE)
        for rack in range(2)
        for node in range(NODES)
    )
    found = sorted((model_of(name), hosts) for name, hosts in hosts_by_gang().items())
    gangs = gangs_of_spec(application.spec, "min").gangs
    assert found in [placed_in_order(topology, order) for order in itertools.permutations(gangs)]
    rack = dict(found)["rack"]
    assert {host.rpartition("-n")[0] for host in rack} in ({"rack-0"}, {"rack-1"})
    assert len(set(rack)) == NODES
    for model in ("two", "sixteen", "rack"):
        assert application.chat(model).status_code == 200


def placed_in_order(topology: Topology, gangs: Sequence[Gang]) -> list[tuple[str, tuple[str, ...]]]:
    """Return where gangs go that ask one after another."""
    placement = Placement(topology)
    placed = [placement.place(gang) for gang in gangs]
    return sorted((each.gang.model, each.nodes) for each in placed if isinstance(each, PlacedGang))
