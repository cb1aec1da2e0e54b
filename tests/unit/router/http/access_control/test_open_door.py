"""A gateway that lets everybody in says so, and one that does not says nothing."""

import pytest

from cluster.spec.gateway_spec import GatewaySpec
from router.http.access_control.open_door import open_door

TENANT = {"name": "acme", "key_sha256": "0" * 64}


EVERY = ("0.0.0.0", "::")  # noqa: S104 - what the test is about


@pytest.mark.parametrize(("host", "where"), [*((host, "every address") for host in EVERY), ("10.0.0.1", "10.0.0.1")])
def test_an_open_gateway_is_told(host: str, where: str) -> None:
    """The default is one: it names the port, the address and what would close it."""
    said = open_door(GatewaySpec.model_validate({"host": host, "port": 8123}))
    assert "everybody" in said
    assert "8123" in said
    assert where in said
    assert "gateway.tenants" in said
    assert "\n" not in said
    assert open_door(GatewaySpec())


@pytest.mark.parametrize(
    "closed", [{"tenants": [TENANT]}, {"host": "127.0.0.1"}, {"host": "::1"}, {"host": "localhost"}]
)
def test_one_with_keys_or_for_its_own_machine_is_not(closed: dict[str, object]) -> None:
    """There is nothing to warn of."""
    assert open_door(GatewaySpec.model_validate(closed)) == ""
