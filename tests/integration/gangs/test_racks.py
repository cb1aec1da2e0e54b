"""Gangs of sim engines on two racks of 72 GPUs: where they stand, what waits, and what a lost node takes with it."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import deployments.ray_api as ray_api
from cluster.placement.gang import Gang, PlacedGang
from cluster.placement.gang_file import gangs_of_spec
from cluster.placement.gang_ledger import Request
from cluster.placement.placement import Placement
from cluster.placement.topology import Topology
from cluster.spec.cluster_spec import ClusterSpec, PlacementSpec
from deployments.gang_placement.live_cluster import host_of, standing_gangs
from deployments.gang_placement.placer import waiting_now
from deployments.gang_placement.placer_actor import Placer
from tests.free_ports import free_port
from tests.integration.cluster.load import Load
from tests.integration.cluster.running_application import RunningApplication, sim_spec, wait_for
from tests.integration.cluster.test_failures import listener
from tests.integration.gangs.racks import Racks, autoscaler_wants

HEAD: Mapping[str, Any] = {"node_labels": {"rackserve.io/role": "head"}}
MODELS: Sequence[Mapping[str, Any]] = (
    {"name": "two", "parallel": {"tensor": 8}, "replicas": 2},
    {"name": "sixteen", "parallel": {"tensor": 8, "pipeline": 2}},
    {"name": "rack", "parallel": {"tensor": 72}},
)
PORT = free_port()
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
    command = [str(Path(sys.executable).with_name("rackserve")), *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def application(racks: Racks) -> Iterator[RunningApplication]:  # noqa: ARG001 - must be up
    """Gangs of 8, 8, 16 and 72 GPUs."""
    spec = spec_of(*MODELS)
    running = RunningApplication(spec)
    try:
        running.deploy(spec)
        running.wait_until_ready()
        wait_for("both replicas of two", lambda: len(running.replicas("two")) == 2)
        yield running
    finally:
        running.delete()


def spec_of(*models: Mapping[str, Any], spares: int = 0) -> ClusterSpec:
    """Return the spec with these models, and so many nodes of each domain kept as spares."""
    spec = sim_spec(*models, name="racks", port=PORT, **HEAD)
    return spec.model_copy(update={"placement": PlacementSpec(spares_per_domain=spares)})


def test_gangs_land_where_the_pure_placement_says(application: RunningApplication, racks: Racks) -> None:
    """8, 8, 16 and 72 GPUs stand just where `cluster.placement.placement` puts them; all answer."""
    topology = racks.topology()
    found = sorted((model_of(name), hosts) for name, hosts in hosts_by_gang().items())
    gangs = gangs_of_spec(application.spec, "min").gangs
    assert found in [placed_in_order(topology, order) for order in itertools.permutations(gangs)]
    [whole] = [name for name in ("rack-0", "rack-1") if name in dict(found)["rack"][0]]
    assert set(dict(found)["rack"]) == {node.name for node in topology.nodes if node.domain == whole}
    for model in ("two", "sixteen", "rack"):
        assert application.chat(model).status_code == 200


def placed_in_order(topology: Topology, gangs: Sequence[Gang]) -> list[tuple[str, tuple[str, ...]]]:
    """Return where gangs go that ask one after another."""
    placement = Placement(topology)
    placed = [placement.place(gang) for gang in gangs]
    return sorted((each.gang.model, each.nodes) for each in placed if isinstance(each, PlacedGang))


def test_what_fits_nowhere_waits_and_says_what_is_missing(application: RunningApplication, racks: Racks) -> None:
    """`rackserve status` has the sentence, the autoscaler hears the right machines, `topology` draws the racks.

    A model that is taken away ends to wait at once, though its requests would have had two minutes to finish.
    """
    with_late = {"name": "late", "parallel": {"tensor": 48}, "accelerator": "GB300"}
    application.deploy(spec_of(*MODELS, with_late))
    wait_for("it waits", waiting_now)
    rack = "rack-0" if hosts_by_model()["rack"][0].startswith("rack-1") else "rack-1"
    status = json.loads(rackserve("status", "--json"))["waiting"]
    assert [each["why_not"] for each in status] == [f"needs 48 GPUs in one domain; best domain {rack} has 40 free"]
    assert status[0]["autoscaler_asked_for"] == {"gpus": 48, "node_group": "gb300"}
    assert autoscaler_wants() == {
        (("ray.io/accelerator-type", "GB300"), ("ray.io/node-group", "gb300")): 48,
        (): 104,
    }
    drawing = rackserve("topology")
    assert max(map(len, drawing.splitlines()[:-2])) <= 80
    nodes = sum(node.domain == "rack-0" for node in racks.topology().nodes)
    assert f"rack rack-0: {nodes} nodes, 72 GPUs" in drawing
    assert f"needs 48 GPUs in one domain; best domain {rack} has 40 free" in drawing
    application.deploy(spec_of(*MODELS))
    wait_for("nothing waits", lambda: not waiting_now(), timeout_s=20.0)
    assert not autoscaler_wants()


def hosts_by_model() -> dict[str, tuple[str, ...]]:
    """Return the hosts of a gang of each model."""
    return {model_of(name): hosts for name, hosts in hosts_by_gang().items()}


def test_a_silent_replica_gets_nothing_after_a_second(application: RunningApplication) -> None:
    """Stop a replica's process: connections stay open, but a second later every request goes to the other one."""
    stopped, other = application.replicas("two")
    process = listener(stopped.http_port)
    process.suspend()
    try:
        time.sleep(1.0)
        answers = [application.chat("two", f"hello {number}") for number in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 20
        assert {answer.headers["x-rackserve-replica"] for answer in answers} == {other.replica_id}
    finally:
        process.resume()


def test_a_lost_node_takes_its_gang_and_nothing_else(application: RunningApplication, racks: Racks) -> None:
    """The gang is torn down whole and built anew on healthy nodes of one domain; the others' requests never notice."""
    before = hosts_by_gang()
    lost = next(name for name in before if model_of(name) == "two")
    load = Load(application.url, "sixteen", clients=2)
    try:
        node = before[lost][0]
        racks.kill(node)

        def is_rebuilt() -> bool:
            now = hosts_by_gang()
            return lost not in now and sum(model_of(name) == "two" for name in now) == 2

        wait_for("the gang stands anew", is_rebuilt)
        wait_for("it serves", lambda: len(application.replicas("two")) == 2)
        replica_id = lost.partition("#")[2]
        assert replica_id not in {endpoint.replica_id for endpoint in application.replicas("two")}
    finally:
        load.stop()
    assert load.failures == []
    assert load.answers > 20
    after = hosts_by_gang()
    new = next(hosts for name, hosts in after.items() if name not in before)
    assert node not in new
    assert len({host.rpartition("-n")[0] for host in new}) == 1
    assert {name: hosts for name, hosts in before.items() if name != lost} == {
        name: hosts for name, hosts in after.items() if name in before
    }


def desk(tensor: int, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401 - spec values
    """Return a model whose gangs fit the desks only."""
    return {"name": "desk", "parallel": {"tensor": tensor}, "accelerator": "DESK", "drain_timeout_s": 0.1, **more}


@pytest.mark.long
def test_a_gang_begins_on_the_node_of_its_own_process(application: RunningApplication, racks: Racks) -> None:
    """Serve starts that where there are such GPUs and CPUs, which is not the node that a gang else begins on."""
    racks.add("desk", 1, gpus=4, kind="DESK")
    racks.add("desk", 1, gpus=4, kind="DESK", cpus=1)
    racks.wait()
    application.deploy(spec_of(*MODELS, desk(8)))
    wait_for("it serves", lambda: application.replicas("desk"))
    assert hosts_by_model()["desk"] == ("desk-n1",) * 4 + ("desk-n0",) * 4
    (endpoint,) = application.replicas("desk")
    assert endpoint.node_id == standing_gangs()[f"desk#{endpoint.replica_id}"].nodes[0]


@pytest.mark.long
def test_a_rolling_update_without_room_for_both_lets_the_old_gang_go_first(application: RunningApplication) -> None:
    """The only machines of its kind are full with it; the new one takes their place."""
    (before,) = application.replicas("desk")
    application.deploy(spec_of(*MODELS, desk(8, sim={"answer_tokens": 4})))
    wait_for("the new one", lambda: application.replicas("desk") not in ([], [before]))
    application.wait_until_ready()
    assert [model_of(name) for name in hosts_by_gang()].count("desk") == 1
    assert application.chat("desk").status_code == 200


@pytest.mark.long
def test_a_placer_goes_when_unused_but_not_while_it_keeps_spares_for_gangs_that_stand(
    application: RunningApplication,  # noqa: ARG001 - whose gangs stand
) -> None:
    """One that is made after a node was lost could not tell who had been there, and may have the spare."""
    names = ("placer-with-spares", "placer-without")
    for spares, name in enumerate(reversed(names)):
        placer = ray_api.durable_actor(Placer, name, 0.5, on_head=True)
        placer.call_now("ask", Request(Gang("idle#1", "idle", accelerator="none")), spares, timeout_s=60.0)
        placer.call_now("forget", "idle#1")
    try:
        wait_for("the one without spares has gone", lambda: names[1] not in ray_api.actor_names())
        time.sleep(1.0)
        assert names[0] in ray_api.actor_names()
    finally:
        ray_api.kill_actor(names[0])


@pytest.mark.long
def test_a_lost_gang_is_rebuilt_on_the_spare_of_its_own_domain(application: RunningApplication, racks: Racks) -> None:
    """A gang that waits for just such a node is not given it; the one that lost its own is."""
    application.deploy(spec_of(*MODELS, desk(4), spares=1))
    wait_for("half as large", lambda: hosts_by_model().get("desk") == ("desk-n0",) * 4)
    application.wait_until_ready()
    other = {**desk(4), "name": "other"}
    application.deploy(spec_of(*MODELS, desk(4), other, spares=1))
    wait_for("the other waits", waiting_now)
    assert waiting_now()[0].message.endswith("best domain desk has 0 free (4 more are kept as spares)")
    racks.kill("desk-n0")
    wait_for("on the spare", lambda: hosts_by_model().get("desk") == ("desk-n1",) * 4)
    wait_for("it serves", lambda: application.chat("desk").status_code == 200)
    assert [waiting.gang.model for waiting in waiting_now()] == ["other"]
