"""Servers that break a request's connection and live on: they are polled, so the request is known not to kill them."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest

from cluster.spec.gateway_spec import GatewaySpec
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import ServerAddress
from router.dispatch.suspects import PATIENCE_S
from tests.integration.gateway.running_gateway import ask, request
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

MODELS = plain(json.dumps({"object": "list", "data": [{"id": "m"}]}).encode())


class _BreaksOnce:
    """A server that breaks off the first request it gets, and answers polls and all others."""

    def __init__(self, *, is_polled: bool = True) -> None:
        self.breaks = 0
        self._is_polled = is_polled

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if received.head.startswith(b"GET"):
            if self._is_polled or not self.breaks:
                writer.write(MODELS)
        elif not self.breaks:
            self.breaks += 1
            writer.write(plain(b"half")[:-2])
            await writer.drain()
            writer.close()
        else:
            writer.write(plain(b'{"id": "x", "choices": [{"text": "well"}]}'))


@pytest.mark.parametrize(("servers", "is_polled"), [(2, True), (5, True), (3, False)])
async def test_each_server_breaks_off_once(servers: int, is_polled: bool) -> None:  # noqa: FBT001 - drawn
    """The request is answered as soon as a poll shows that they live; where none answers any more, it is refused."""
    scripts = [_BreaksOnce(is_polled=is_polled) for _ in range(servers)]
    spec = GatewaySpec(host="127.0.0.1", port=0, admin_port=0)
    process = StandaloneGateway(spec, (), policy="round_robin")
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(ScriptedReplica(script)) for script in scripts]
        process.set_servers([ServerAddress("127.0.0.1", replica.port) for replica in replicas])
        await process.start()
        stack.push_async_callback(process.stop, 0.0)
        async with asyncio.timeout(15.0):
            while _known(process) < servers:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0.02)
        async with asyncio.timeout(PATIENCE_S + 3.0):
            status, _, body = await ask(process.gateway.port, request())
        assert sum(script.breaks for script in scripts) >= min(servers, 3)
        if is_polled:
            assert (status, b"well" in body) == (200, True)
        else:
            assert (status, json.loads(body)["error"]["code"]) == (502, "replica_failed")


def _known(process: StandaloneGateway) -> int:
    """Return how many servers requests for the model may go to."""
    model = process.gateway.state()["models"].get("m", {"replicas": ()})
    return len(model["replicas"])
