"""Who reaches the admin port, and what they see there."""

import asyncio
import socket
from hashlib import sha256

import pytest

from tests.integration.gateway.running_gateway import ask, running_gateway

PAGES = ("/health", "/ready", "/metrics", "/state", "/why/")
KEY = sha256(b"op").hexdigest()


def _address_of_this_machine() -> str:
    """Return an address of this machine that is not loopback; the test is skipped where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; an address of documentation (RFC 5737)
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


async def _seen(port: int, headers: bytes = b"") -> dict[str, int]:
    """Return each page's status; that of /ready is 503, as no model has a replica."""
    raw = b"GET %s HTTP/1.1\r\nhost: t\r\n%s\r\n"
    return {page: (await ask(port, raw % (page.encode(), headers)))[0] for page in PAGES}


async def test_it_is_for_this_machine_unless_told_otherwise() -> None:
    """A gateway that listens on all addresses for apps listens for operators on loopback."""
    async with running_gateway([], host="0.0.0.0") as gateway:  # noqa: S104 - what the test is about
        assert set((await _seen(gateway.admin_port)).values()) == {200, 503}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(_address_of_this_machine(), gateway.admin_port)


async def test_it_listens_where_it_is_told_to() -> None:
    """`admin_host` is its address, whatever the apps' is."""
    address = _address_of_this_machine()
    async with running_gateway([], admin_host=address) as gateway:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", gateway.admin_port)
        _, writer = await asyncio.open_connection(address, gateway.admin_port)
        writer.close()


async def test_with_a_key_all_but_health_asks_for_it() -> None:
    """Also on the gateway's own machine; an app's key is none."""
    tenants = [{"name": "acme", "key_sha256": sha256(b"sk-acme").hexdigest()}]
    async with running_gateway([], admin_key_sha256=KEY, tenants=tenants) as gateway:
        assert set((await _seen(gateway.admin_port, b"authorization: Bearer op\r\n")).values()) == {200, 503}
        for headers in (b"", b"authorization: Bearer sk-acme\r\n", b"x-api-key: op\r\n"):
            seen = await _seen(gateway.admin_port, headers)
            assert seen.pop("/health") == 200
            assert set(seen.values()) == {401}
