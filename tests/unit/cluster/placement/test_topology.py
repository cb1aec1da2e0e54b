"""Machines in domains in racks, built node by node or read from a topology file."""

import pytest

from cluster.errors import SpecError, TopologyError
from cluster.placement.topology import Node, Topology
from cluster.placement.topology_file import TOPOLOGY_FILE


def problems(text: str) -> dict[str, str]:
    """Return what is wrong with the topology file `text`, by path."""
    with pytest.raises(SpecError) as caught:
        TOPOLOGY_FILE.load(text, "topology.yaml")
    return {problem.path: problem.message for problem in caught.value.problems}


def test_nodes_make_domains_and_racks_in_order() -> None:
    """Neighbours stay neighbours."""
    topology = Topology.of(Node(f"n{i}", f"d{i // 2}", f"r{i // 4}", 4) for i in range(8))
    assert list(topology.domains) == ["d0", "d1", "d2", "d3"]
    assert {rack: [domain.name for domain in domains] for rack, domains in topology.racks.items()} == {
        "r0": ["d0", "d1"],
        "r1": ["d2", "d3"],
    }
    assert (topology.gpus, topology.domains["d1"].gpus) == (32, 8)


def test_a_name_means_a_node_a_domain_or_a_rack() -> None:
    """In that order."""
    topology = Topology.of([Node("a", "d", "r", 4), Node("b", "d", "r", 4), Node("c", "a", "r", 4)])
    assert [node.name for node in topology.nodes_named("a")] == ["a"]
    assert [node.name for node in topology.nodes_named("d")] == ["a", "b"]
    assert [node.name for node in topology.nodes_named("r")] == ["a", "b", "c"]
    with pytest.raises(TopologyError, match="no node, domain or rack is called 'z'"):
        topology.nodes_named("z")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([Node("a", "d", "r", 4), Node("a", "d", "r", 4)], "two nodes are named 'a'"),
        ([Node("a", "d", "r", 4), Node("b", "d", "q", 4)], "'d' is in two racks: 'a' in 'r', 'b' in 'q'"),
        ([Node("a", "d", "r", 4, "h100"), Node("b", "d", "r", 4)], "two kinds of GPU: 'h100' in 'a', '' in 'b'"),
        ([Node("a", "d", "r", 0)], "node 'a' has 0 GPUs"),
    ],
)
def test_machines_that_cannot_be_are_refused(nodes: list[Node], words: str) -> None:
    """With both sides of the contradiction."""
    with pytest.raises(TopologyError) as caught:
        Topology.of(nodes)
    assert words in str(caught.value)


def test_an_accelerator_knows_its_nodes_and_domains() -> None:
    """Two NVL72 racks of one domain each; a rack of four H100 boxes, each a domain; a lab node on its own."""
    topology = TOPOLOGY_FILE.load(
        """
        racks:
          - {name: nvl, count: 2, accelerator: gb300, nodes: 18}
          - {name: old, accelerator: h100, nodes: 4}
          - {name: half, accelerator: gb200, nodes: 9, gpus_per_node: 2, nodes_per_domain: 3}
        nodes:
          - {name: lab-1, rack: lab, gpus: 2}
          - {name: lab-2, rack: lab, domain: lab-b, gpus: 6, accelerator: mine}
        """,
        "topology.yaml",
    ).topology()
    assert {name: domain.gpus for name, domain in topology.domains.items()} == {
        "nvl-0": 72,
        "nvl-1": 72,
        **{f"old-d{number}": 8 for number in range(4)},
        **{f"half-d{number}": 6 for number in range(3)},
        "lab": 2,
        "lab-b": 6,
    }
    assert [node.name for node in topology.domains["nvl-1"].nodes][:2] == ["nvl-1-n0", "nvl-1-n1"]
    assert topology.domains["old-d2"].nodes[0].name == "old-n2"
    assert topology.domains["old-d2"].accelerator == "h100"
    assert list(topology.racks) == ["nvl-0", "nvl-1", "old", "half", "lab"]


def test_without_an_accelerator_a_rack_is_one_domain() -> None:
    """And says its GPUs itself."""
    topology = TOPOLOGY_FILE.load("racks: [{name: r, nodes: 3, gpus_per_node: 2}]", "t").topology()
    assert {name: domain.gpus for name, domain in topology.domains.items()} == {"r": 6}


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", "", "the file is empty; it needs racks or nodes"),
        ("lost: [a]", "racks", "missing: list racks or nodes"),
        ("racks: [{name: r, nodes: 2}]", "racks[0].gpus_per_node", "missing: give it, or an accelerator"),
        ("racks: [{name: r, nodes: 2, accelerator: h10}]", "racks[0].accelerator", "did you mean 'h100'?"),
        ("racks: [{name: r, nodes: 0, accelerator: h100}]", "racks[0].nodes", "greater than or equal to 1"),
        ("racks: [{name: r, node: 2, accelerator: h100}]", "racks[0].node", "did you mean 'nodes'?"),
        ("racks: [{name: 'r 1', nodes: 2, accelerator: h100}]", "racks[0].name", "must match"),
        ("nodes: [{name: a, rack: r}]", "nodes[0].gpus", "missing"),
        ("nodes: [{name: a, rack: r, gpus: 1}]\nspares_per_domain: -1", "spares_per_domain", "greater than or equal"),
    ],
)
def test_a_wrong_file_is_told_where_and_what(text: str, where: str, words: str) -> None:
    """Each mistake at its key."""
    assert words in problems(text)[where]
