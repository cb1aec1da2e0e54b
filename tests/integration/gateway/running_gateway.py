"""A gateway on a free port in front of given replicas, and raw clients for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from tests.machine_speed import slowness

NOT_HELD = ModelSpec(name="m", engine="sim", policy="round_robin", cold_start_timeout_s=0.0)
"""A model whose requests are refused at once while it has no replica."""


class WallClock:
    """The machine's monotonic clock."""

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()


@asynccontextmanager
async def running_gateway(
    ports: Sequence[int],
    *,
    models: Sequence[ModelSpec] = (),
    credential: str = "",
    endpoints: Sequence[Endpoint] = (),
    continues: Sequence[bool] = (),
    **limits: object,
) -> AsyncIterator[Gateway]:
    """Run a gateway for model `m` with one replica on each of `ports`, or at `endpoints`, in the running loop.

    `continues` says of each of `ports` whether that replica is known to continue a message; by default all are.
    """
    spec = GatewaySpec.model_validate({"host": "127.0.0.1", "port": 0, "admin_port": 0, **limits})
    gateway = Gateway(
        spec,
        models or [ModelSpec(name="m", engine="sim", policy="round_robin")],
        gateway_id="gateway-under-test",
        credential=credential,
        clock=WallClock(),
        rng=Random(0),
    )
    await gateway.start()
    try:
        kinds = list(continues) or [True] * len(ports)
        gateway.apply_view(
            endpoints
            or [
                Endpoint(f"r{i}", "m", "127.0.0.1", port, continues_messages=kind)
                for i, (port, kind) in enumerate(zip(ports, kinds, strict=True))
            ]
        )
        yield gateway
    finally:
        await gateway.stop(0.0)


async def until(holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not hold within `within_s` seconds, or that times how slow the machine then is.
    """
    began_s = time.monotonic()
    while not holds():
        waited_s = time.monotonic() - began_s
        assert waited_s < within_s or waited_s < within_s * slowness(), f"waited {waited_s:.1f} s in vain"
        await asyncio.sleep(0.01)


def request(body: bytes = b'{"model":"m"}', *, path: str = "/v1/chat/completions", headers: bytes = b"") -> bytes:
    """Return a POST request as raw bytes; `headers` are whole lines."""
    head = b"POST %s HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    return head % (path.encode(), headers, len(body)) + body


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one response; returns status, headers (names in lower case) and the body with its framing taken off.

    Raises:
        asyncio.IncompleteReadError: the connection ended within it.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head[:-4].split("\r\n")
    headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:]}
    status = int(lines[0].split(" ")[1])
    if status == 100:
        return status, headers, b""
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
            parts.append(await reader.readexactly(size))
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
        return status, headers, b"".join(parts)
    return status, headers, await reader.readexactly(int(headers["content-length"]))


async def ask(port: int, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes on a connection of their own and read one response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        async with asyncio.timeout(10):
            return await read_response(reader)
    finally:
        writer.close()
