"""When a gateway that is to stop may do so."""

import pytest

from deployments.directory.membership import GatewayEndpoint, View
from deployments.gateway.rolling_update import may_leave


def gateway(node: str, settings: str) -> GatewayEndpoint:
    """Return a gateway on a node."""
    return GatewayEndpoint(f"{node}-{settings}", "10.0.0.1", 8000, 8002, node_id=node, settings=settings)


@pytest.mark.parametrize(
    ("others", "may"),
    [
        ([], True),
        ([gateway("b", "old")], True),
        ([gateway("b", "old"), gateway("b", "new")], False),
        ([gateway("b", "new"), gateway("a", "new")], True),
    ],
    ids=["the last", "no update", "the update is elsewhere", "the update is here"],
)
def test_an_old_gateway_goes_once_a_new_one_is_on_its_node(others: list[GatewayEndpoint], *, may: bool) -> None:
    """Where nothing is being updated, nothing is waited for."""
    leaving = gateway("a", "old")
    assert may_leave(leaving, View("epoch", 1, settled=True, gateways=(leaving, *others))) is may
