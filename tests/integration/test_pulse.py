"""A replica's pulse beside its telemetry: real guard, real HTTP, real gRPC."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn

from deployments.engines.interface import EngineStats, Receive, Scope, Send
from deployments.process.loop_thread import LoopThread
from deployments.replica.guard import ReplicaGuard
from deployments.telemetry.client import SILENT_S, TelemetryClient
from deployments.telemetry.pulse import PULSE_PATH, PULSE_S
from deployments.telemetry.service import PULSED_SILENCE_S, TelemetryServer, TelemetryService
from router.replicas.endpoint import Endpoint
from tests.machine_speed import slowness

if TYPE_CHECKING:
    from router.replicas.load_report import LoadReport


async def _not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Replica:
    """A guard with its two ports, on one loop of its own, as a replica has it."""

    def __init__(self) -> None:
        self.thread = LoopThread("replica")
        self.guard = ReplicaGuard(_not_found, "secret")
        self._http: uvicorn.Server | None = None
        self._task: asyncio.Future[None] | None = None
        self._telemetry: TelemetryServer | None = None

    async def start(self) -> Endpoint:
        """Open both ports."""
        return await self.thread.run_async(self._start())

    async def _start(self) -> Endpoint:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self._http = uvicorn.Server(uvicorn.Config(self.guard, lifespan="off", log_config=None))
        self._http.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        self._task = asyncio.ensure_future(self._http.serve(sockets=[sock]))
        while not self._http.started:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.01)
        service = TelemetryService(
            replica_id="r1",
            model="m",
            credential="secret",
            stats=lambda: EngineStats(0, 0, 0, 0.0, 4096, 1000.0, 50.0, 2048),
            accepted=self.guard.accepted,
            gateways=self.guard.gateways,
            when_work_comes=self.guard.listen,
        )
        self._telemetry = TelemetryServer(service, "127.0.0.1")
        await self._telemetry.start()
        port = int(sock.getsockname()[1])
        return Endpoint("r1", model="m", host="127.0.0.1", http_port=port, telemetry_port=self._telemetry.port)

    async def hang(self, seconds: float) -> None:
        """Do nothing else for a while."""

        async def sleep() -> None:
            time.sleep(seconds)  # noqa: ASYNC251 - hanging is what it does

        await self.thread.run_async(sleep())

    async def break_connections(self) -> None:
        """Cut every HTTP connection; the port stays open."""

        async def abort() -> None:
            assert self._http is not None
            for connection in list(self._http.server_state.connections):
                connection.transport.abort()

        await self.thread.run_async(abort())

    async def stop(self) -> None:
        """Close both ports."""

        async def close() -> None:
            assert self._http is not None
            assert self._task is not None
            assert self._telemetry is not None
            await self._telemetry.stop()
            self._http.should_exit = self._http.force_exit = True
            await self._task

        await self.thread.run_async(close())
        self.thread.close()


class Gateway:
    """What a gateway hears."""

    def __init__(self, credential: str = "secret") -> None:
        self.heard: list[LoadReport | None] = []
        self.client = TelemetryClient("g1", credential, lambda _, report: self.heard.append(report))

    async def seconds_until(self, *, known: bool) -> float:
        """Wait until the replica's load is known, or is not."""
        began_s = time.monotonic()
        while not self.heard or (self.heard[-1] is not None) != known:
            await asyncio.sleep(0.005)
            assert time.monotonic() - began_s < 5.0 * slowness()
        return time.monotonic() - began_s


@asynccontextmanager
async def followed() -> AsyncIterator[tuple[Replica, Gateway]]:
    """Give an idle replica and a gateway that knows its load."""
    replica, gateway = Replica(), Gateway()
    gateway.client.follow([await replica.start()])
    try:
        await gateway.seconds_until(known=True)
        yield replica, gateway
    finally:
        await gateway.client.stop()
        await replica.stop()


async def test_an_idle_replica_is_known_by_its_pulse_with_hardly_a_message() -> None:
    """Reports come every 1.5 s only; all the while the replica counts as alive."""
    async with followed() as (_, gateway):
        await asyncio.sleep(0.3)
        before = len(gateway.heard)
        await asyncio.sleep(4.0)
        assert all(report is not None for report in gateway.heard)
        assert 2 <= len(gateway.heard) - before <= 4.0 / PULSED_SILENCE_S + 1


async def test_a_replica_that_hangs_is_silent_in_time_and_known_again_after_it() -> None:
    """The pulse comes from the loop that serves requests, so a hanging loop has none."""
    async with followed() as (replica, gateway):
        await asyncio.sleep(PULSE_S)
        hanging = asyncio.ensure_future(replica.hang(2.0))
        assert await gateway.seconds_until(known=False) < SILENT_S + 0.2 * slowness()
        await hanging
        assert await gateway.seconds_until(known=True) < 1.0 * slowness()


async def test_a_pulse_that_breaks_is_noticed_at_once_and_opened_anew() -> None:
    """A broken connection is no silence: the load is unknown until both ways are open again."""
    async with followed() as (replica, gateway):
        await asyncio.sleep(0.2)
        before = len(gateway.heard)
        await replica.break_connections()
        while None not in gateway.heard[before:]:  # noqa: ASYNC110 - it may be known again within milliseconds
            await asyncio.sleep(0.005)
        await gateway.seconds_until(known=True)
        known = len(gateway.heard)
        await asyncio.sleep(2.0)
        assert all(report is not None for report in gateway.heard[known:])
        assert len(gateway.heard) - known <= 2.0 / PULSED_SILENCE_S + 1


@pytest.mark.parametrize(("token", "status"), [("other", 401), ("secret", 200)])
async def test_only_this_clusters_gateways_hear_it(token: str, status: int) -> None:
    """The guard asks for the credential first; a pulse is no request, so nothing is counted."""
    async with followed() as (replica, gateway):
        endpoint = next(iter(gateway.client._watches.values())).endpoint
        url = f"http://127.0.0.1:{endpoint.http_port}{PULSE_PATH}"
        async with (
            httpx.AsyncClient(timeout=5.0) as client,
            client.stream("GET", url, headers={"authorization": f"Bearer {token}"}) as answer,
        ):
            assert answer.status_code == status
            if status == 200:
                assert await anext(answer.aiter_raw()) == b"."
        assert replica.guard.in_flight == replica.guard.accepted("") == 0
