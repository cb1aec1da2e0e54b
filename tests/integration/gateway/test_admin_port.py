"""Who reaches the admin port, and what they see there."""

import asyncio
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from cluster.spec.gateway_spec import GatewaySpec
from deployments.gateway.admin_key_watch import AdminKeyWatch
from deployments.gateway.files_watch import LOOK_EVERY_S
from tests.integration.gateway.running_gateway import ask, running_gateway
from tests.machine_speed import slowness

PAGES = ("/health", "/ready", "/metrics", "/state", "/why/")
KEY = sha256(b"op").hexdigest()
KEYS = (b"op", b"another")


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


async def test_a_new_gateway_takes_the_port_of_the_one_it_replaces() -> None:
    """While the old one is there its admin port is the next one; afterwards it is `admin_port`, with all pages."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        wanted = probe.getsockname()[1]
    async with running_gateway([], admin_port=wanted) as old:
        assert old.admin_port == wanted
        async with running_gateway([], admin_port=wanted) as new:
            assert new.admin_port > wanted
            assert await new.settle_admin_port() is None  # it is not free yet
            before = new.admin_port
            await old.stop(0.0)
            left = await new.settle_admin_port()
            assert left is not None
            assert new.admin_port == wanted
            for port in (before, wanted):  # the old one stays until everybody knows the new one
                assert set((await _seen(port)).values()) == {200, 503}
            await new.close_listener(left)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", before)
            assert await new.settle_admin_port() is None


async def test_a_changed_admin_key_is_taken_over(tmp_path: Path) -> None:
    """The new key opens the port and the old one no more; an empty file changes nothing."""
    file = tmp_path / "key"
    file.write_text("op")
    spec = GatewaySpec.model_validate({"admin_key_file": str(file)})

    async def statuses() -> tuple[int, int]:
        seen = [(await _seen(gateway.admin_port, b"authorization: Bearer %s\r\n" % key))["/state"] for key in KEYS]
        return seen[0], seen[1]

    async def becomes(wanted: tuple[int, int]) -> None:
        async with asyncio.timeout(10 * slowness()):
            while await statuses() != wanted:  # noqa: ASYNC110 - nothing is set
                await asyncio.sleep(0.05)

    async with running_gateway([], admin_key_sha256=KEY) as gateway:
        watch = AdminKeyWatch(gateway, spec)
        watch.start()
        try:
            assert await statuses() == (200, 401)
            file.write_text("another")
            await becomes((401, 200))
            file.write_text("")
            await asyncio.sleep(2.5 * LOOK_EVERY_S)
            assert await statuses() == (401, 200)
        finally:
            await watch.stop()
