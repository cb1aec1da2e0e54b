"""RackServe's own commands find a gateway's admin port and show that they are an operator's."""

import pytest

from deployments.directory.membership import GatewayEndpoint
from deployments.gateway.operators import ADMIN_KEY, headers_by_key


@pytest.mark.parametrize(
    ("host", "admin_host", "url"),
    [
        ("10.0.0.1", "", "http://10.0.0.1:8002"),
        ("10.0.0.1", "127.0.0.1", "http://127.0.0.1:8002"),
        ("::1", "", "http://[::1]:8002"),
    ],
)
def test_the_admin_port_has_its_own_address(host: str, admin_host: str, url: str) -> None:
    """It is the gateway's, unless the cluster file names another."""
    assert GatewayEndpoint("g", host, 8000, 8002, admin_host=admin_host).admin_url == url


def test_the_operators_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are told an address send it; without it they send none."""
    monkeypatch.delenv(ADMIN_KEY, raising=False)
    assert headers_by_key() == {}
    monkeypatch.setenv(ADMIN_KEY, "op")
    assert headers_by_key() == {"authorization": "Bearer op"}
