"""A plain OpenAI-compatible server whose models, slowness and metrics a test changes while it runs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from cluster.spec.gateway_spec import GatewaySpec
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import ServerAddress
from deployments.standalone.server_poll import PATIENCE_S
from tests.integration.gateway.running_gateway import ask, request

Rows = list[dict[str, Any]]


class PlainServer:
    """A server on a port of its own, which it keeps over restarts.

    Args:
        models: what it announces.

    Attributes:
        models: the rows of `/v1/models`, as names or with more fields; may be changed at any time.
        list_status: the status of the answer at `/v1/models`.
        list_delay_s: seconds before `/v1/models` is answered.
        metrics: the body at `/metrics`; "": 404.
        accepted: connections that it accepted.
        polls: times that `/v1/models` was asked for.
        answered: bodies of the requests that were answered.
        held: a request whose body has the word HOLD waits for this event.
    """

    def __init__(self, *models: str) -> None:
        self.models: list[Any] = list(models)
        self.list_status = 200
        self.list_delay_s = 0.0
        self.metrics = ""
        self.accepted = 0
        self.polls = 0
        self.answered: list[dict[str, Any]] = []
        self.held = asyncio.Event()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> ServerAddress:
        """Where it is."""
        return ServerAddress("127.0.0.1", self.port)

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and break those that are open."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop."""
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [
                    int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
                ]
                body = await reader.readexactly(sum(lengths))
                status, answer = await self._answer(head, body)
                start = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(start % (status, len(answer)) + answer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _answer(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        if head.startswith(b"GET /v1/models"):
            self.polls += 1
            await asyncio.sleep(self.list_delay_s)
            rows = [{"id": row} if isinstance(row, str) else row for row in self.models]
            return self.list_status, json.dumps({"object": "list", "data": rows}).encode()
        if head.startswith(b"GET /metrics"):
            return (200, self.metrics.encode()) if self.metrics else (404, b"")
        if b"HOLD" in body:
            await self.held.wait()
        self.answered.append(json.loads(body))
        return 200, b'{"choices":[]}'


@asynccontextmanager
async def gateway_before(
    *servers: PlainServer | ServerAddress, policy: str = "expected_ttft", patience_s: float = PATIENCE_S
) -> AsyncIterator[StandaloneGateway]:
    """Run a standalone gateway in the running loop."""
    addresses = [each.address if isinstance(each, PlainServer) else each for each in servers]
    spec = GatewaySpec(host="127.0.0.1", port=0, admin_port=0)
    gateway = StandaloneGateway(spec, addresses, policy=policy, poll_timeout_s=patience_s)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop(0.0)


async def chat(
    gateway: StandaloneGateway, model: str, text: str = "hi", headers: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Ask a model; return status, headers and body."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
    return await ask(gateway.gateway.port, request(body, headers=headers))


async def page(gateway: StandaloneGateway, path: str, *, admin: bool = False) -> tuple[int, bytes]:
    """Get a page of the apps' port, or of the operators' one."""
    port = gateway.gateway.admin_port if admin else gateway.gateway.port
    status, _, body = await ask(port, b"GET %s HTTP/1.1\r\nhost: t\r\n\r\n" % path.encode())
    return status, body


async def listed(gateway: StandaloneGateway) -> Rows:
    """Return the rows of /v1/models."""
    rows: Rows = json.loads((await page(gateway, "/v1/models"))[1])["data"]
    return rows


async def names(gateway: StandaloneGateway) -> list[str]:
    """Return the names that are listed, in order of the alphabet."""
    return sorted(row["id"] for row in await listed(gateway))


async def replicas(gateway: StandaloneGateway, model: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a model's replicas, by id."""
    models = json.loads((await page(gateway, "/state", admin=True))[1])["models"]
    return {row["replica_id"]: row for row in models.get(model, {}).get("replicas", ())}


async def in_flight(gateway: StandaloneGateway, model: str, server: PlainServer | ServerAddress) -> int:
    """Return the requests for a model that are on a server."""
    name = server.address.name if isinstance(server, PlainServer) else server.name
    return int((await replicas(gateway, model))[name]["in_flight"])


async def until(holds: Callable[[], Awaitable[bool]], limit_s: float = 20.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not within `limit_s` seconds.
    """
    async with asyncio.timeout(limit_s):
        while not await holds():  # noqa: ASYNC110 - looked at from outside, as a client does
            await asyncio.sleep(0.05)
