"""What it costs a gateway to look after many plain servers."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from cluster.spec.gateway_spec import GatewaySpec
from deployments.standalone import quiet
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import ServerAddress
from tests.machine_speed import slowness

SERVERS = 256
MEASURED_S = 2.0
BOUND = 0.06
"""CPU seconds per second that polling `SERVERS` servers may take: 0.038 was measured at twice the rate of polls."""
FLEET = """
import asyncio, sys
BODY = b'{"object":"list","data":[{"id":"m","root":"/models/m","max_model_len":4096}]}'
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY) + BODY
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        is_list = data.startswith(b"GET /v1/models")
        self.transport.write(ANSWER if is_list else b"HTTP/1.1 404 X\\r\\ncontent-length: 0\\r\\n\\r\\n")
async def main():
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Server, "127.0.0.1", 0) for _ in range(int(sys.argv[1]))]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""
"""A process with as many servers as its argument says; it ends with its standard input."""


@asynccontextmanager
async def _gateway_before(servers: int) -> AsyncIterator[StandaloneGateway]:
    """Run a gateway in this process in front of as many servers in another."""
    command = [sys.executable, "-c", FLEET, str(servers)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fleet:  # noqa: ASYNC220 - ends with its input
        assert fleet.stdin is not None
        assert fleet.stdout is not None
        addresses = [ServerAddress("127.0.0.1", int(port)) for port in fleet.stdout.readline().split()]
        spec = GatewaySpec(host="127.0.0.1", port=0, admin_port=0)
        gateway = StandaloneGateway(spec, addresses, policy="expected_ttft")
        await gateway.start()
        try:
            assert all(server.has_answered for server in gateway.servers)
            yield gateway
        finally:
            await gateway.stop(0.0)
            fleet.stdin.close()


async def test_polling_many_servers_costs_hardly_any_cpu_time() -> None:
    """256 servers cost a small part of a core, in CPU seconds of this process."""
    async with _gateway_before(SERVERS):
        shares = []
        for _ in range(3):
            began_cpu_s, began_s = time.process_time(), time.monotonic()
            await asyncio.sleep(MEASURED_S)
            shares.append((time.process_time() - began_cpu_s) / (time.monotonic() - began_s))
    share = min(shares)  # other work on the machine only adds to it
    assert share < BOUND * slowness(), f"{share:.1%} of a core"


async def test_a_gateway_that_nobody_asks_polls_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 servers are each polled every 2 s, or every 32 s while nobody asks; one request brings the polls back."""
    monkeypatch.setattr(quiet, "QUIET_S", 1.0)
    async with _gateway_before(64) as gateway:

        def polled_since(began_s: float) -> int:
            return sum(server.sign_s > began_s for server in gateway.servers)

        await asyncio.sleep(4.5)  # all have been polled, and have had one usual pause since
        quiet_s = time.monotonic()
        await asyncio.sleep(2.5)
        assert polled_since(quiet_s) < 16
        asked_s = time.monotonic()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.gateway.port}") as client:
            for _ in range(5):
                assert (await client.get("/v1/models")).status_code == 200
                await asyncio.sleep(0.5)
        assert polled_since(asked_s) > 48
