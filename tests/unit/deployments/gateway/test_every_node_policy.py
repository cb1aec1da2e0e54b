"""How many gateways follow from which nodes."""

import pytest

from deployments.gateway.every_node_policy import EveryNodePolicy

GATEWAY = {"ray.io/node-id": "1", "role": "gateway"}


@pytest.mark.parametrize(
    ("labels", "nodes", "gateways"),
    [
        ({"role": "gateway"}, [GATEWAY, GATEWAY, {"role": "model"}, {}], 4),
        ({"role": "gateway", "zone": "a"}, [GATEWAY, {**GATEWAY, "zone": "a"}], 2),
        ({}, [GATEWAY, {"role": "model"}, {}], 6),
        ({"role": "gateway"}, [{"role": "model"}], 1),
    ],
    ids=["of a role", "all labels must fit", "no label: every node", "one waits for the first node"],
)
def test_gateways_are_counted_by_nodes(labels: dict[str, str], nodes: list[dict[str, str]], gateways: int) -> None:
    """`per_node` for each node that has all the labels, and one at the least."""
    policy = EveryNodePolicy(labels, per_node=2)
    policy.count(nodes)
    assert policy.wanted(7) == gateways


def test_nothing_changes_before_nodes_are_known() -> None:
    """Serve's present number stays until Ray's head has said which nodes there are."""
    assert EveryNodePolicy({}, per_node=1).wanted(7) == 7
