"""Residency over real gRPC, from a real sim replica to a gateway's index: snapshots, deltas, gaps, the self-test."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import httpx
import numpy as np
import pytest

from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import EngineStats
from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from deployments.kv_residency.place import Place
from deployments.kv_residency.replica_residency import ReplicaResidency
from deployments.kv_residency.residency_log import ResidencyLog
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry import telemetry_pb2_grpc as pb_grpc
from deployments.telemetry.client import TelemetryClient
from deployments.telemetry.service import PULSED_SILENCE_S, TelemetryServer, TelemetryService
from router.prefix_cache.exact import ResidencyDelta
from router.prefix_cache.residency import Mode, Residency
from router.prompt.chunk_chain import ChunkChain, ChunkHasher
from router.prompt.cut import CUT_VERSION
from router.prompt.hash_seed import hash_seed
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.load_report import LoadReport
from tests.machine_speed import slowness

CREDENTIAL = "secret"
CHAT = "/v1/chat/completions"
HASHER = ChunkHasher(hash_seed(CREDENTIAL))


class Gateway:
    """What a gateway makes of telemetry: an index, and a record of what came."""

    def __init__(self, *, wants: bool = True) -> None:
        self.residency = Residency()
        self.came: list[tuple[bool, int]] = []
        self.loads = 0
        self.last: LoadReport | None = None
        self.client = TelemetryClient("g1", CREDENTIAL, self._load, self._apply, wants_residency=lambda _: wants)

    def follow(self, endpoint: Endpoint) -> None:
        """Know a replica and watch it."""
        self.residency.add_replica(endpoint.replica_id, exact=True, kv_bytes=0)
        self.client.follow([endpoint])

    def _load(self, _replica_id: str, report: LoadReport | None) -> None:
        self.loads += 1
        self.last = report

    def _apply(self, replica_id: str, delta: ResidencyDelta) -> bool:
        self.came.append((delta.snapshot, delta.sequence))
        return self.residency.apply_delta(replica_id, delta)

    def held_bytes(self, replica_id: str, body: dict[str, Any]) -> int:
        """Return how much of a chat a replica is known to hold, in bytes."""
        chain = chain_of(body)
        return chain.prefix_bytes(self.residency.match(chain).count(replica_id))


def chain_of(body: dict[str, Any]) -> ChunkChain:
    """Return a chat's chain."""
    return HASHER.of_body(CHAT, json.dumps(body).encode(), model="m")


def chat(number: int) -> dict[str, Any]:
    """Return a chat of some 250 tokens that is like no other."""
    return {"messages": [{"role": "user", "content": f"question {number} about rivers and valleys, " * 25}]}


async def until(condition: object, limit_s: float = 30.0) -> float:
    """Wait until `condition()` is true; returns how long that took."""
    assert callable(condition)
    started_s = time.monotonic()
    while not condition():
        await asyncio.sleep(0.002)
        assert time.monotonic() - started_s < limit_s
    return time.monotonic() - started_s


class Replica:
    """A sim engine behind its ports, with room for a few chats, and for more in `cpu_gb` of host memory."""

    def __init__(self, cpu_gb: float = 0.0) -> None:
        spec = {"name": "m", "engine": "sim", "sim": {"kv_blocks": 40, "block_tokens": 32, "inter_token_s": 0.001}}
        model = ModelSpec.model_validate({**spec, "kv_cache": {"offload": {"cpu_gb": cpu_gb}}})
        self.server = ReplicaServer(model, engine_for(model), replica_id="r", host="127.0.0.1", credential=CREDENTIAL)
        self._http = httpx.AsyncClient(headers={"authorization": f"Bearer {CREDENTIAL}"})
        self.endpoint: Endpoint | None = None

    async def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask as a gateway would."""
        assert self.endpoint is not None
        url = f"http://{self.endpoint.host}:{self.endpoint.http_port}{CHAT}"
        response = await self._http.post(url, json={"model": "m", "max_tokens": 4, **body})
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    async def stop(self) -> None:
        """End it."""
        await self._http.aclose()
        await self.server.stop()


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    """A replica that has started and proven that it is exact."""
    found = Replica()
    found.endpoint = await found.server.start()
    assert Signal.RESIDENCY in found.endpoint.signals
    yield found
    await found.stop()


async def test_a_gateway_knows_what_others_caused(replica: Replica) -> None:
    """A snapshot tells what was there before it came, deltas what has changed since, evictions included."""
    assert replica.endpoint is not None
    await replica.ask(chat(1))
    gateway = Gateway()
    gateway.follow(replica.endpoint)
    try:
        await until(lambda: gateway.came)
        assert gateway.came == [(True, gateway.came[0][1])]
        assert gateway.residency.modes() == {"r": Mode.EXACT}
        await until(lambda: gateway.held_bytes("r", chat(1)) > 800)
        asking = asyncio.ensure_future(replica.ask(chat(2)))
        took_s = await until(lambda: gateway.held_bytes("r", chat(2)) > 800)
        await asking
        assert took_s < 1.0 * slowness()
        for number in range(3, 9):
            await replica.ask(chat(number))
        await until(lambda: gateway.held_bytes("r", chat(1)) == 0)
        await until(lambda: gateway.held_bytes("r", chat(8)) > 800)
        sequences = [sequence for _, sequence in gateway.came]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
        gateway.residency.check_integrity()
    finally:
        await gateway.client.stop()


async def test_a_gateway_knows_what_is_below_the_device() -> None:
    """A chat that left the device counts where it is, then on the device again; who comes later knows it too."""
    replica = Replica(cpu_gb=1.0)
    replica.endpoint = await replica.server.start()
    gateways = [Gateway(), Gateway()]

    def chunks(gateway: Gateway) -> tuple[int, int]:
        match = gateway.residency.match(chain_of(chat(1)))
        return match.device_count("r"), match.count("r")

    try:
        gateways[0].follow(replica.endpoint)
        await replica.ask(chat(1))
        await until(lambda: chunks(gateways[0])[0] >= 4)
        on_device = chunks(gateways[0])[0]
        for number in range(2, 9):
            await replica.ask(chat(number))
        await until(lambda: chunks(gateways[0]) == (0, on_device))
        gateways[1].follow(replica.endpoint)
        await until(lambda: chunks(gateways[1]) == (0, on_device))
        fetched = gateways[1].residency.match(chain_of(chat(1))).fetched_tokens(chain_of(chat(1)), "r")
        answer = await replica.ask(chat(1))
        assert abs(answer["usage"]["prompt_tokens_details"]["cached_tokens"] - fetched) <= 2 * 32
        for gateway in gateways:
            await until(lambda gateway=gateway: chunks(gateway)[0] >= on_device)
            await until(
                lambda gateway=gateway: gateway.last and gateway.last.tiers and gateway.last.tiers.fetched_tokens
            )
            gateway.residency.check_integrity()
            tiers = gateway.last.tiers if gateway.last is not None else None
            assert tiers is not None
            assert 0 < tiers.device_tokens <= 40 * 32
            assert tiers.host_tokens > 500
            assert tiers.fetch_s_per_token > 0
    finally:
        for gateway in gateways:
            await gateway.client.stop()
        await replica.stop()


async def test_changes_come_at_once_and_a_calm_replica_says_nothing(replica: Replica) -> None:
    """A delta does not wait for the next load report; where nothing changes, none comes."""
    assert replica.endpoint is not None
    gateway = Gateway()
    gateway.follow(replica.endpoint)
    try:
        await until(lambda: gateway.came)
        delays_s = []
        for number in range(10, 20):
            await replica.ask(chat(number))
            delays_s.append(await until(lambda number=number: gateway.held_bytes("r", chat(number)) > 800))
        await asyncio.sleep(0.3)
        came, loads = len(gateway.came), gateway.loads
        await asyncio.sleep(PULSED_SILENCE_S + 0.4)
        assert len(gateway.came) == came
        assert gateway.loads > loads
        print(f"told {sorted(delays_s)[5] * 1e3:.0f} ms after the answer (median), {max(delays_s) * 1e3:.0f} at worst")  # noqa: T201
        assert sorted(delays_s)[5] < 0.1 * slowness()
    finally:
        await gateway.client.stop()


async def test_who_has_missed_something_gets_a_snapshot(replica: Replica) -> None:
    """A gateway that starts to know a replica anew hears the full state again, and nothing wrong stays."""
    assert replica.endpoint is not None
    gateway = Gateway()
    gateway.follow(replica.endpoint)
    try:
        await until(lambda: gateway.came)
        await replica.ask(chat(20))
        await until(lambda: gateway.held_bytes("r", chat(20)) > 800)
        gateway.residency.add_replica("r", exact=True, kv_bytes=0)
        gateway.residency.exact.claim("r", np.array(chain_of(chat(99)).hashes, np.uint64))
        assert gateway.held_bytes("r", chat(20)) == 0
        await replica.ask(chat(21))
        await until(lambda: gateway.held_bytes("r", chat(20)) > 800 and gateway.held_bytes("r", chat(21)) > 800)
        assert gateway.held_bytes("r", chat(99)) == 0
        assert gateway.came[-1][0] or gateway.came[-2][0]
    finally:
        await gateway.client.stop()


async def test_nobody_is_told_what_he_does_not_want(replica: Replica) -> None:
    """A gateway whose policy reads no prompts gets load reports alone."""
    assert replica.endpoint is not None
    gateway = Gateway(wants=False)
    gateway.follow(replica.endpoint)
    try:
        await replica.ask(chat(30))
        await until(lambda: gateway.loads >= 2)
        await asyncio.sleep(0.3)
        assert gateway.came == []
    finally:
        await gateway.client.stop()


class FilledResidency(ReplicaResidency):
    """A replica's residency without an engine, with as many chunks as the largest machines hold."""

    def __init__(self, chunks: int) -> None:
        self._chunk_block_map = ChunkBlockMap(chunks)
        self.log = ResidencyLog(self._chunk_block_map)
        self._listeners = set()
        for chunk in np.random.default_rng(0).integers(1, 1 << 63, chunks, dtype=np.uint64).tolist():
            self._chunk_block_map.add(chunk, chunk, 60, place=Place.DEVICE)
        self.log.flush()

    def grow(self, chunk: int) -> None:
        """Hold one more chunk."""
        self._chunk_block_map.add(chunk, chunk, 60, place=Place.DEVICE)
        self._flush_now()

    def _flush_now(self) -> None:
        self.log.flush()
        for callback in tuple(self._listeners):
            callback()


async def test_a_hundred_thousand_chunks_and_a_gateway_that_was_away() -> None:
    """A snapshot of any size arrives whole in small messages; deltas then go on from it; away and back, all again."""
    residency = FilledResidency(120_000)
    service = TelemetryService(
        replica_id="r",
        model="m",
        credential=CREDENTIAL,
        stats=lambda: EngineStats(0, 0, 0, 0.0, 0, 0.0, 0.0, 0),
        accepted=lambda _: 0,
        gateways=lambda: 0,
        residency=residency,
    )
    server = TelemetryServer(service, "127.0.0.1")
    await server.start()
    endpoint = Endpoint("r", model="m", host="127.0.0.1", http_port=1, telemetry_port=server.port)
    gateway = Gateway()
    try:
        started_s, started_cpu_s = time.monotonic(), time.process_time()
        gateway.follow(endpoint)
        await until(lambda: gateway.residency.exact.claims("r") == 120_000)
        took_s, cpu_s = time.monotonic() - started_s, time.process_time() - started_cpu_s
        print(f"120 000 chunks in {took_s:.3f} s, {cpu_s:.3f} s of CPU time at both ends")  # noqa: T201
        residency.grow(7)
        await until(lambda: gateway.residency.exact.claims("r") == 120_001)
        assert [snapshot for snapshot, _ in gateway.came] == [True, False]
        gateway.client.follow([])
        for chunk in range(8, 40):
            residency.grow(chunk)
        await asyncio.sleep(0.1)
        gateway.client.follow([endpoint])
        await until(lambda: gateway.residency.exact.claims("r") == 120_033)
        assert [snapshot for snapshot, _ in gateway.came] == [True, False, True]
    finally:
        await gateway.client.stop()
        await server.stop()


async def test_a_replica_that_cuts_prompts_differently_sends_loads_but_no_residency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway of another version could match none of its chunks, so it gets none. It gets the loads all the same."""
    residency = FilledResidency(10)
    service = TelemetryService(
        replica_id="r",
        model="m",
        credential=CREDENTIAL,
        stats=lambda: EngineStats(0, 0, 0, 0.0, 0, 0.0, 0.0, 0),
        accepted=lambda _: 0,
        gateways=lambda: 0,
        residency=residency,
    )
    server = TelemetryServer(service, "127.0.0.1")
    await server.start()
    monkeypatch.setattr("deployments.telemetry.client.CUT_VERSION", CUT_VERSION - 1)
    gateway = Gateway()
    try:
        gateway.follow(Endpoint("r", model="m", host="127.0.0.1", http_port=1, telemetry_port=server.port))
        await until(lambda: gateway.loads)
        residency.grow(11)
        await asyncio.sleep(0.2)
        assert gateway.came == []
        assert gateway.residency.claims("r") == 0
    finally:
        await gateway.client.stop()
        await server.stop()


class Scripted(pb_grpc.TelemetryServicer):
    """A replica that loses a delta in its first stream, and talks nonsense in its second."""

    def __init__(self) -> None:
        self.streams = 0

    async def Watch(  # noqa: N802 - the name in the .proto
        self, request: pb.WatchRequest, context: object
    ) -> AsyncIterator[pb.Report]:
        """Stream as scripted."""
        del context
        assert request.residency
        self.streams += 1
        yield pb.Report(sequence=1, hello=pb.Hello(replica_id="r", cut_version=CUT_VERSION))
        chunk = pb.Chunks(hashes=(5).to_bytes(8, "little"))
        if self.streams == 2:
            yield pb.Report(sequence=2, snapshot=pb.ResidencySnapshot(sequence=1, resident=pb.Chunks(hashes=b"odd")))
        yield pb.Report(sequence=2, snapshot=pb.ResidencySnapshot(sequence=1, resident=chunk))
        number = 3 if self.streams == 1 else 2
        more = pb.Chunks(hashes=(6).to_bytes(8, "little"))
        yield pb.Report(sequence=3, delta=pb.ResidencyDelta(sequence=number, resident=more))
        await asyncio.sleep(10.0)


async def test_a_lost_delta_and_a_broken_message_start_the_stream_anew() -> None:
    """What comes after a gap is not believed; after nonsense neither; the third stream is sound."""
    service = Scripted()
    server = grpc.aio.server()
    pb_grpc.add_TelemetryServicer_to_server(service, server)  # type: ignore[no-untyped-call] # generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gateway = Gateway()
    gateway.follow(Endpoint("r", model="m", host="127.0.0.1", http_port=1, telemetry_port=port))
    try:
        await until(lambda: service.streams == 3 and len(gateway.came) == 4)
        assert gateway.came == [(True, 1), (False, 3), (True, 1), (False, 2)]
        assert gateway.residency.exact.holds("r", np.array([5, 6], np.uint64)).all()
        assert gateway.residency.modes() == {"r": Mode.EXACT}
    finally:
        await gateway.client.stop()
        await server.stop(None)


async def test_a_replica_that_cannot_prove_it_is_not_called_exact() -> None:
    """Where two equal prompts do not show that the claims are right, it serves all the same, and claims nothing."""
    model = ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": {"kv_blocks": 3, "block_tokens": 32}})
    server = ReplicaServer(model, engine_for(model), replica_id="r", host="127.0.0.1", credential=CREDENTIAL)
    endpoint = await server.start()
    gateway = Gateway()
    gateway.follow(endpoint)
    try:
        assert endpoint.signals == {Signal.LOAD, Signal.RATES}
        await until(lambda: gateway.loads)
        url = f"http://{endpoint.host}:{endpoint.http_port}{CHAT}"
        body = {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {CREDENTIAL}"}) as client:
            assert (await client.post(url, json=body)).status_code == 200
        await asyncio.sleep(0.2)
        assert gateway.came == []
    finally:
        await gateway.client.stop()
        await server.stop()
