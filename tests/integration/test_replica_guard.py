"""A replica's guard lets gateways' WebSockets in, counts them, and sends them elsewhere once closed."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from deployments.engines.interface import Receive, Scope, Send
from deployments.replica.guard import ReplicaGuard

GATEWAY = {"authorization": "Bearer inner", "x-rackserve-gateway": "g"}


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


@asynccontextmanager
async def guarded(guard: ReplicaGuard) -> AsyncIterator[str]:
    """Serve a guarded app; yields the URL of its WebSocket."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(guard, ws="auto", lifespan="off", log_config=None))
        task = asyncio.ensure_future(server.serve(sockets=[sock]))
        while not server.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.01)
        try:
            yield f"ws://127.0.0.1:{sock.getsockname()[1]}/v1/realtime"
        finally:
            server.should_exit = True
            await task


async def test_websockets_are_guarded_like_requests() -> None:
    """In with the credential, counted while open; 401 without it, and back to the gateway once closed.

    Those who listen are told of each one that is let in, and of no other.
    """
    guard = ReplicaGuard(_echo, "inner")
    told: list[int] = []
    stop = guard.listen(lambda: told.append(guard.in_flight))
    async with guarded(guard) as url:
        async with connect(url, additional_headers=GATEWAY) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            assert (guard.in_flight, guard.accepted("g")) == (1, 1)
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, additional_headers={"authorization": "Bearer outer"})
        assert refused.value.response.status_code == 401
        guard.closed = True
        with pytest.raises(InvalidStatus) as sent_back:
            await connect(url, additional_headers=GATEWAY)
        assert sent_back.value.response.status_code == 503
        assert sent_back.value.response.headers["x-rackserve-retry"] == "1"
        assert guard.in_flight == 0
    assert told == [1]
    stop()


@pytest.mark.parametrize(
    "path",
    [
        "/sleep", "/reset_prefix_cache", "/collective_rpc", "/v1/load_lora_adapter", "//sleep/", "/Sleep", "/sleep;a=b",
        "/v1/..;/sleep", "/v1/%2e%2e/collective_rpc", "/x%5c..%5csleep", "/fault_tolerance/apply",
        "/update_weights_from_disk",
    ],
)  # fmt: skip
async def test_nobody_steers_an_engine_through_its_replica(path: str) -> None:
    """Not even with the credential, whatever the spelling; the engine's app sees no such request."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with guarded(ReplicaGuard(app, "inner")) as url:
        port = int(url.split(":")[2].split("/")[0])
        for target, status in ((path, 404), ("/v1/chat/completions", 200), ("/v1/models", 200)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {target} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer inner\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())
            assert (await reader.readline()).split()[1] == str(status).encode(), target
            writer.close()
    assert seen == ["/v1/chat/completions", "/v1/models"]


async def test_requests_are_counted_by_the_rank_that_they_name() -> None:
    """Each gateway's for each rank; what names none, or one that there is not, counts for the replica alone."""
    guard = ReplicaGuard(_echo, "inner", ranks=2)
    async with guarded(guard) as url, AsyncExitStack() as stack:
        for gateway, rank in (("g", "0"), ("g", "1"), ("g", "1"), ("h", "1"), ("g", "2"), ("h", "")):
            headers = {"authorization": "Bearer inner", "x-rackserve-gateway": gateway, "x-data-parallel-rank": rank}
            await stack.enter_async_context(connect(url, additional_headers=headers))
        assert [guard.accepted("g", rank) for rank in (0, 1, None)] == [1, 2, 4]
        assert [guard.accepted("h", rank) for rank in (0, 1, None)] == [0, 1, 2]
        assert [guard.gateways(rank) for rank in (0, 1, None)] == [1, 2, 2]
        assert (guard.in_flight, guard.accepted_in_all) == (6, 6)
    assert [guard.gateways(rank) for rank in (0, 1, None)] == [0, 0, 0]
    assert [guard.accepted("g", rank) for rank in (0, 1, None)] == [1, 2, 4]
