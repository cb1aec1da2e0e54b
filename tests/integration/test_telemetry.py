"""Telemetry over real gRPC: reports arrive, silence is noticed, broken streams are reopened, strangers are refused."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_tools import protoc  # type: ignore[import-untyped]

from deployments.engines.interface import EngineStats
from deployments.process.loop_thread import LoopThread
from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry import telemetry_pb2_grpc as pb_grpc
from deployments.telemetry.client import TelemetryClient
from deployments.telemetry.service import MAX_SILENCE_S, TelemetryServer, TelemetryService
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.media_report import NO_MEDIA, MediaReport
from router.replicas.speculation_report import SpeculationReport
from router.replicas.step_report import StepReport
from tests.machine_speed import slowness

ROOT = Path(__file__).parents[2]


class World:
    """A replica's numbers, and what a gateway heard of them."""

    def __init__(self) -> None:
        self.looks = 0
        self.listeners: list[Callable[[], None]] = []
        self.running = 0
        self.accepted = 0
        self.waiting = 2
        self.gateways = 3
        self.speculation: SpeculationReport | None = None
        self.steps: StepReport | None = None
        self.media = NO_MEDIA
        self.heard: list[tuple[str, LoadReport | None]] = []

    def stats(self) -> EngineStats:
        """Return the engine's state."""
        self.looks += 1
        report = EngineStats(self.running, self.waiting, 300, 0.5, 4096, 1000.0, 50.0, 2048, media=self.media)
        return replace(report, speculation=self.speculation, steps=self.steps)

    def server(
        self, replica_id: str = "r1", credential: str = "secret", *, tells_of_work: bool = False
    ) -> TelemetryServer:
        """Return a telemetry server of this world's replica."""
        service = TelemetryService(
            replica_id=replica_id,
            model="m",
            credential=credential,
            stats=self.stats,
            accepted=lambda gateway_id: self.accepted if gateway_id == "g1" else 0,
            gateways=lambda: self.gateways,
            when_work_comes=self.listen if tells_of_work else None,
        )
        return TelemetryServer(service, "127.0.0.1")

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Tell `callback` of each request that comes."""
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def take_request(self) -> None:
        """Let a request in."""
        self.accepted += 1
        self.running = self.gateways = 1
        for listener in self.listeners:
            listener()

    def client(self, credential: str = "secret") -> TelemetryClient:
        """Return a client of gateway g1."""
        return TelemetryClient("g1", credential, lambda replica_id, report: self.heard.append((replica_id, report)))

    @property
    def last(self) -> LoadReport | None:
        """Return what was heard last."""
        return self.heard[-1][1] if self.heard else None


def endpoint(port: int, replica_id: str = "r1") -> Endpoint:
    """Return the replica's row."""
    return Endpoint(replica_id, model="m", host="127.0.0.1", http_port=1, telemetry_port=port)


async def until(condition: object, limit_s: float = 30.0) -> float:
    """Wait until `condition()` is true; returns how long that took."""
    assert callable(condition)
    started_s = time.monotonic()
    while not condition():
        await asyncio.sleep(0.005)
        assert time.monotonic() - started_s < limit_s
    return time.monotonic() - started_s


async def test_every_change_is_heard_and_nothing_is_repeated_needlessly() -> None:
    """The full state comes first, then each change within a report interval; a calm replica only says it lives."""
    world = World()
    server, client = world.server(), world.client()
    await server.start()
    client.follow([endpoint(server.port)])
    try:
        await until(lambda: world.last)
        assert world.heard == [("r1", LoadReport(2, 0, 2, 300, 0.5, 4096, 1000.0, 50.0, 0, 2048, 3))]
        world.speculation = SpeculationReport(10, 50, (9, 7, 5, 3, 1), 3.5, 2.25)
        await until(lambda: world.last and world.last.speculation == world.speculation)
        world.steps = StepReport(50.0, 2.5, 512.0, 60.0, 8000.0)
        await until(lambda: world.last and world.last.steps == world.steps)
        world.running, world.accepted = 7, 9
        took_s = await until(lambda: world.last and world.last.running == 7 and world.last.accepted == 9)
        assert took_s < 0.5 * slowness()
        world.media = MediaReport(2, 1 << 33, {"domain": 3})
        await until(lambda: world.last and world.last.media == world.media)
        calm = len(world.heard)
        await asyncio.sleep(1.2)
        assert 2 <= len(world.heard) - calm <= 5  # one every 0.3 to 0.4 s
        sequences = [report.sequence for _, report in world.heard if report]
        assert sequences == list(range(2, 2 + len(sequences)))
    finally:
        await client.stop()
        await server.stop()


async def test_an_idle_replica_is_looked_at_only_to_say_that_it_lives() -> None:
    """No work, nothing looked at between two signs of life; a request wakes it, and its load arrives at once."""
    world = World()
    world.waiting = world.gateways = 0
    server, client = world.server(tells_of_work=True), world.client()
    await server.start()
    client.follow([endpoint(server.port)])
    try:
        await until(lambda: world.last)
        await asyncio.sleep(0.5)
        looks, heard = world.looks, len(world.heard)
        await asyncio.sleep(2.0)
        assert world.looks - looks <= 2.0 / MAX_SILENCE_S + 1
        assert 3 <= len(world.heard) - heard <= 2.0 / MAX_SILENCE_S + 1
        assert all(report is not None for _, report in world.heard)
        world.take_request()
        assert (
            await until(lambda: world.last and world.last.running == 1 and world.last.accepted == 1) < 0.3 * slowness()
        )
        world.running = world.gateways = 0  # the answer ends: nobody tells, but a busy replica is looked at often
        assert await until(lambda: world.last and world.last.running == 0) < 0.3 * slowness()
    finally:
        await client.stop()
        await server.stop()
    await until(lambda: not world.listeners)


async def test_an_unchanged_load_is_not_sent_again() -> None:
    """On the wire a sign of life is a report with a number and nothing else."""
    world = World()
    server = world.server()
    await server.start()
    reports: list[pb.Report] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.TelemetryStub(channel)  # type: ignore[no-untyped-call] # generated
        call = stub.Watch(pb.WatchRequest(gateway_id="g1"), metadata=(("authorization", "Bearer secret"),))
        async for report in call:
            reports.append(report)
            if len(reports) == 4:
                world.running = 1
            elif len(reports) == 6:
                break
        call.cancel()
    await server.stop()
    bodies = [report.WhichOneof("body") for report in reports]
    assert bodies == ["hello", "load", None, None, "load", None]
    assert [report.sequence for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[2].ByteSize() <= 4


async def test_silence_is_noticed_within_a_second_and_so_is_the_end_of_it() -> None:
    """A replica whose loop hangs says nothing: its load becomes unknown, and known again when it comes to."""
    world = World()
    thread = LoopThread("hanging replica")
    server, client = world.server(), world.client()
    await thread.run_async(server.start())
    client.follow([endpoint(server.port)])

    async def hang() -> None:
        time.sleep(2.0)  # noqa: ASYNC251 - hanging is what this replica does

    try:
        await until(lambda: world.last)
        hanging = thread.submit(hang())
        took_s = await until(lambda: world.heard[-1] == ("r1", None))
        assert took_s < 1.0 * slowness()
        await asyncio.wrap_future(hanging)
        assert await until(lambda: world.last) < 1.5 * slowness()
    finally:
        await client.stop()
        await thread.run_async(server.stop())
        thread.close()


async def test_a_dead_replica_is_noticed_at_once_and_a_restarted_one_is_heard_again() -> None:
    """A broken stream means unknown at once; the same port answering again is followed again."""
    world = World()
    server, client = world.server(), world.client()
    await server.start()
    port = server.port
    client.follow([endpoint(port)])
    try:
        await until(lambda: world.last)
        await server.stop()
        assert await until(lambda: world.heard[-1] == ("r1", None)) < 0.5 * slowness()
        revived = grpc.aio.server()
        service = world.server()._service
        pb_grpc.add_TelemetryServicer_to_server(service, revived)  # type: ignore[no-untyped-call] # generated
        revived.add_insecure_port(f"127.0.0.1:{port}")
        await revived.start()
        await until(lambda: world.last)
        await revived.stop(None)
    finally:
        await client.stop()


async def test_another_replicas_port_is_not_believed() -> None:
    """Where a port has a new owner, nothing it says counts for the replica that had it."""
    world = World()
    server, client = world.server(replica_id="r2"), world.client()
    await server.start()
    client.follow([endpoint(server.port, "r1")])
    try:
        await asyncio.sleep(0.5)
        assert world.heard == []
    finally:
        await client.stop()
        await server.stop()


async def test_a_wrong_credential_hears_nothing() -> None:
    """A gateway of another cluster learns nothing, and keeps trying without harm."""
    world = World()
    server, client = world.server(credential="other"), world.client()
    await server.start()
    client.follow([endpoint(server.port)])
    try:
        await asyncio.sleep(0.5)
        assert world.heard == []
    finally:
        await client.stop()
        await server.stop()


class LosingService(pb_grpc.TelemetryServicer):
    """A replica whose first stream loses a report."""

    def __init__(self) -> None:
        self.streams = 0

    async def Watch(  # noqa: N802 - the name in the .proto
        self, request: pb.WatchRequest, context: object
    ) -> AsyncIterator[pb.Report]:
        """Stream reports, in the first stream with a gap."""
        del request, context
        self.streams += 1
        yield pb.Report(sequence=1, hello=pb.Hello(replica_id="r1"))
        yield pb.Report(sequence=2, load=pb.Load(running=1))
        yield pb.Report(sequence=4 if self.streams == 1 else 3, load=pb.Load(running=2))
        await asyncio.sleep(10.0)


async def test_a_gap_starts_the_stream_anew() -> None:
    """When a report was lost, what came after it is not believed until a new stream has told the full state."""
    world, service = World(), LosingService()
    server = grpc.aio.server()
    pb_grpc.add_TelemetryServicer_to_server(service, server)  # type: ignore[no-untyped-call] # generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = world.client()
    client.follow([endpoint(port)])
    try:
        await until(lambda: world.last and world.last.running == 2)
        assert service.streams == 2
        running = [report.running if report else None for _, report in world.heard]
        assert running == [1, None, 1, 2]
    finally:
        await client.stop()
        await server.stop(None)


async def test_a_replica_that_left_is_not_watched() -> None:
    """`follow` hangs up on whoever is no longer listed, without a word."""
    world = World()
    server, client = world.server(), world.client()
    await server.start()
    client.follow([endpoint(server.port)])
    try:
        await until(lambda: world.last)
        client.follow([])
        await asyncio.sleep(0.2)
        heard = len(world.heard)
        await asyncio.sleep(0.6)
        assert len(world.heard) == heard
    finally:
        await client.stop()
        await server.stop()


@pytest.mark.parametrize("name", ["telemetry_pb2.py", "telemetry_pb2.pyi", "telemetry_pb2_grpc.py"])
def test_the_generated_code_is_the_protos(name: str, tmp_path: Path) -> None:
    """What is committed beside the .proto is what it generates."""
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
        f"--grpc_python_out={tmp_path}",
    ]
    assert protoc.main([*arguments, str(ROOT / "deployments/telemetry/telemetry.proto")]) == 0
    assert (ROOT / "deployments/telemetry" / name).read_text() == (
        tmp_path / "deployments/telemetry" / name
    ).read_text()
