"""The drawing of `rackserve topology`."""

from cluster.placement.gang import Gang, PlacedGang
from cluster.placement.gang_ledger import LiveNode
from cluster.placement.topology import Node
from deployments.commands.observe.topology import drawing


def test_each_gpu_has_a_mark_and_no_line_is_longer_than_eighty() -> None:
    """Two racks, one with two domains; a letter a replica, a dot where a GPU is free, a hash where others have it."""
    nodes = [LiveNode(Node(f"id-{n}", "rack-0", "rack-0", 4), 4) for n in range(18)]
    nodes += [LiveNode(Node(f"id-{n}", f"r1-d{n % 2}", "rack-1", 4), 2) for n in (18, 20, 19)]
    hosts = {live.node.name: f"tray-{number}" for number, live in enumerate(nodes)}
    gangs = {
        "m#a": PlacedGang(Gang("m#a", "m", tensor=6), ("id-0",) * 4 + ("id-1",) * 2),
        "m#b": PlacedGang(Gang("m#b", "m", tensor=2), ("id-1",) * 2),
    }
    taken = [LiveNode(live.node, 0 if live.node.name in {"id-0", "id-1"} else live.free) for live in nodes]
    lines = drawing(taken, gangs, hosts)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "rack rack-0: 18 nodes, 72 GPUs, 64 free"
    assert lines[1] == "         tray-0 AAAA       tray-1 AABB       tray-2 ····       tray-3 ····"
    assert "  domain r1-d0" in lines
    assert any("##··" in line for line in lines)
    assert "A m (a): TP 6 x PP 1, 6 GPUs" in lines
    assert sum(line.count("·") for line in lines) == 64 + 6 + 1


def test_long_names_and_eight_gpu_nodes_stay_within_eighty() -> None:
    """Node names are told by their ends."""
    nodes = [LiveNode(Node(f"id-{n}", "d" * 63, "r" * 63, 8), 8) for n in range(9)]
    hosts = {live.node.name: f"a-very-long-host-name-{live.node.name}" for live in nodes}
    *picture, legend = drawing(nodes, {"m" * 90 + "#x": PlacedGang(Gang("g", "m"), ("id-0",))}, hosts)
    assert max(map(len, picture)) <= 80
    assert f"{'m' * 90} (x)" in legend  # an id that is cut cannot be used


def test_a_cluster_without_gpus() -> None:
    """It is said."""
    assert drawing([], {}, {}) == ["no node has GPUs"]
