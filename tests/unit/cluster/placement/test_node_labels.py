"""`rackserve node-labels`, and machines from their labels."""

import shutil

import pytest

from cluster.errors import TopologyError
from cluster.placement.node_labels import live_node, neighbours_adjacent
from deployments.commands.operate.node_labels import NVIDIA_SMI, node_labels


def test_it_prints_what_ray_start_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """The domain from a flag; the rack only where it is given."""
    node_labels("rack-3", "", "tray-7")
    node_labels("d0", "rack-3", "tray-7")
    assert capsys.readouterr().out.splitlines() == [
        "--labels=ray.io/gpu-domain=rack-3,rackserve.io/host=tray-7",
        "--labels=ray.io/gpu-domain=d0,rackserve.io/host=tray-7,rackserve.io/rack=rack-3",
    ]


def test_what_cannot_be_a_label_is_refused() -> None:
    """Ray would refuse it later, on the machine."""
    with pytest.raises(TopologyError, match="cannot be a label"):
        node_labels("rack 3", "", "tray-7")


@pytest.mark.skipif(shutil.which(NVIDIA_SMI) is not None, reason="this machine has GPUs to ask")
def test_without_gpus_and_without_a_flag_it_says_what_to_do() -> None:
    """Nothing is guessed."""
    with pytest.raises(TopologyError, match="give it: --domain NAME"):
        node_labels("", "", "")


def test_a_machine_without_a_domain_is_one() -> None:
    """Its GPUs reach each other; a domain without a rack is a rack."""
    assert live_node("id", {"rackserve.io/host": "box"}, 8, 8).node.domain == "box"
    assert live_node("id", {}, 8, 8).node.domain == "id"
    assert live_node("id", {"ray.io/gpu-domain": "d"}, 8, 8).node.rack == "d"


def test_neighbours_stand_by_number() -> None:
    """rack-2 before rack-10, whatever order Ray lists them in."""
    nodes = [live_node(f"id-{rack}", {"ray.io/gpu-domain": f"rack-{rack}"}, 4, 4) for rack in (10, 2, 1)]
    ordered = neighbours_adjacent(nodes, {live.node.name: "h" for live in nodes})
    assert [live.node.rack for live in ordered] == ["rack-1", "rack-2", "rack-10"]
