"""One replica's engine with its two ports: the engine's own HTTP app behind the guard, and telemetry. Uses no Ray."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from cluster.autoscaling.metrics.figures import ReplicaFigures
from cluster.errors import EngineError, EngineStartError
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import AsgiApp, Engine
from deployments.kv_residency.replica_residency import ReplicaResidency
from deployments.kv_residency.request_bodies import RequestBodies
from deployments.kv_residency.self_test import AffinityProof, AffinitySelfTest
from deployments.replica.guard import ReplicaGuard
from deployments.replica.memory_lock import check_memory_lock
from deployments.replica.own_card import own_card
from deployments.replica.own_model import own_model
from deployments.replica.own_promise import own_promise
from deployments.telemetry.service import RankedTelemetry, TelemetryServer, TelemetryService
from deployments.tracing.wiring import app_spans, close
from router.prompt.chunk_chain import ChunkHasher
from router.prompt.hash_seed import hash_seed
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.ranks import rank_id

if TYPE_CHECKING:
    from deployments.tracing.traced_app import AppSpans

KEEP_ALIVE_S: Final = 75
"""Seconds after which an idle connection is closed; gateways close theirs sooner, so no request meets a closing one."""
QUIET_S: Final = 0.5
"""Seconds without a running request that end a draining replica's wait: gateways learn within 0.1 s that it left."""
POLL_S: Final = 0.05
"""Seconds between two looks at the running requests while draining."""
PROBE_BLOCK_TOKENS: Final = 128
"""Tokens per KV block assumed in the self-test if the engine does not say."""
BACKLOG: Final = 2048
"""Most connections that wait to be accepted."""

_log = structlog.get_logger("rackserve.replica")


class _HttpServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signal handlers as they are, and sleeps until `end`.

    uvicorn's own loop looks ten times a second whether it shall end, which is most of what an idle replica does.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ends = asyncio.Event()

    def end(self) -> None:
        """Close the port and all connections."""
        self.should_exit = self.force_exit = True
        self._ends.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)  # sets the headers of every answer; they have no date, so they never change
        await self._ends.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ReplicaServer:
    """Serves one engine; used from one event loop: `start`, later `drain`, then `stop`.

    Args:
        model: the model's spec, as the replica's pool runs it.
        engine: the engine, not yet started.
        replica_id: unique for this life of this replica.
        host: the address of its node, to which its ports are bound.
        node_id: its Ray node; "": not known.
        domain: its NVLink domain; "": not known.
        credential: the cluster's internal credential, which gateways must show.
        check_gang: raises GangLostError when a node of the replica's gang is gone; None: the replica is no gang.
    """

    def __init__(  # noqa: PLR0913 - the composition of one replica
        self,
        model: ModelSpec,
        engine: Engine,
        *,
        replica_id: str,
        host: str,
        credential: str,
        node_id: str = "",
        domain: str = "",
        check_gang: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._model = model
        self._check_gang = check_gang
        self._engine = engine
        self._replica_id = replica_id
        self._host = host
        self._node_id = node_id
        self._domain = domain
        self._credential = credential
        self._hasher = ChunkHasher(hash_seed(credential))
        self._guard: ReplicaGuard | None = None
        self._http: _HttpServer | None = None
        self._http_task: asyncio.Task[None] | None = None
        self._telemetry: TelemetryServer | None = None
        self._residencies: list[ReplicaResidency] = []  # of each rank; empty: not followed
        self._spans: AppSpans | None = None

    async def start(self) -> Endpoint:
        """Start the engine, open both ports and test affinity; return where the ports are.

        Raises:
            EngineStartError: the engine did not come up, or not within the model's `start_timeout_s`; or this replica
                is to use RDMA and may not lock memory.
        """
        check_memory_lock()
        try:
            async with asyncio.timeout(self._model.start_timeout_s):
                await self._engine.start()
        except TimeoutError as error:
            await self._engine.stop()
            limit_s = self._model.start_timeout_s
            raise EngineStartError(
                f"{self._model.label} was not ready after start_timeout_s = {limit_s:g} s"
            ) from error
        await self._engine.set_adapters(self._model.adapters)
        app = self._follow_residency()
        self._spans = app_spans("rackserve-replica", "replica", **self._span_attributes())
        if self._spans is not None:
            app = self._spans.around(app)
        self._guard = ReplicaGuard(app, self._credential, self._engine.ranks)
        http_port = await self._start_http(self._guard)
        proof = await self._prove_affinity(app)
        self._telemetry = TelemetryServer(self._telemetry_of(self._guard), self._host)
        await self._telemetry.start()
        return Endpoint(
            replica_id=self._replica_id,
            model=self._model.name,
            host=self._host,
            http_port=http_port,
            telemetry_port=self._telemetry.port,
            signals=frozenset({Signal.LOAD, Signal.RATES} | ({Signal.RESIDENCY} if proof.is_exact else set())),
            node_id=self._node_id,
            domain=self._domain,
            caches_prefixes=proof.caches is not False,
            affinity_proof=proof.reason,
            continues_messages=True,  # every engine here does: tests/engine_contract
            card=await own_card(app, self._model.name),
            pool=self._model.pool,
            role=self._model.role,
            transfer=self._engine.transfer,
            start=self._engine.start_phases,
            promise=own_promise(self._model),
            serves=own_model(self._model),
            ranks=self._engine.ranks,
        )

    def _telemetry_of(self, guard: ReplicaGuard) -> TelemetryService | RankedTelemetry:
        """Return what tells of the engine: where it has data-parallel ranks, of each of them."""

        def telling_of(rank: int | None, residency: ReplicaResidency | None) -> TelemetryService:
            return TelemetryService(
                replica_id=rank_id(self._replica_id, rank),
                model=self._model.name,
                credential=self._credential,
                stats=lambda: self._engine.stats(rank),
                adapters=lambda: self._engine.adapters(rank or 0),
                accepted=lambda gateway_id: guard.accepted(gateway_id, rank),
                gateways=lambda: guard.gateways(rank),
                residency=residency,
                when_work_comes=guard.listen,
            )

        ranks = self._engine.ranks
        residencies: Sequence[ReplicaResidency | None] = self._residencies or [None] * ranks
        if ranks == 1:
            return telling_of(None, residencies[0])
        return RankedTelemetry(telling_of(None, None), [telling_of(rank, residencies[rank]) for rank in range(ranks)])

    async def set_adapters(self, adapters: Sequence[AdapterSpec]) -> None:
        """Serve exactly these adapters from now on; one that cannot be served is told in the replica's reports."""
        await self._engine.set_adapters(adapters)

    async def check_health(self) -> None:
        """Check that the replica works.

        Raises:
            EngineError: its engine has died, a node of its gang is gone, or its HTTP server ended.
        """
        if self._http_task is None or self._http_task.done():
            raise EngineError("the replica's HTTP server is not running")
        try:
            if self._check_gang is not None:
                await self._check_gang()
            await self._engine.check_health()
        except EngineError:
            if self._guard is not None:
                self._guard.closed = True
            raise

    def _span_attributes(self) -> dict[str, str]:
        return {"gen_ai.request.model": self._model.name, "rackserve.replica": self._replica_id}

    def figures(self, start_s: float) -> ReplicaFigures:
        """Return the figures for the autoscaler; call it only while the replica serves.

        Args:
            start_s: seconds that the replica's start took.
        """
        stats = self._engine.stats()
        return ReplicaFigures(
            in_flight=self._guard.in_flight if self._guard is not None else 0,
            waiting_tokens=stats.waiting_tokens,
            prefill_tokens_per_s=stats.prefill_tokens_per_s,
            kv_usage=stats.kv_usage,
            start_s=start_s,
            accepted=self._guard.accepted_in_all if self._guard is not None else 0,
        )

    async def drain(self, timeout_s: float) -> None:
        """Wait until no request has run for `QUIET_S`, at most `timeout_s`. The caller leaves the directory first.

        A replica that computes prompts for others also waits until they have fetched those that it keeps.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        deadline_s, busy_s = now_s + timeout_s, now_s
        while self._guard is not None and now_s < deadline_s and now_s - busy_s < QUIET_S:
            await asyncio.sleep(POLL_S)
            now_s = loop.time()
            if self._guard.in_flight or self._keeps_prompts():
                busy_s = now_s
        if self._guard is not None and self._guard.in_flight:
            _log.warning("stopping with requests running", replica=self._replica_id, requests=self._guard.in_flight)
        if self._keeps_prompts():
            _log.warning("stopping with prompts that others have not fetched", replica=self._replica_id)

    def _keeps_prompts(self) -> bool:
        """Return whether KV blocks are in use, by requests or for other replicas; False where it sends none."""
        transfer = self._engine.transfer
        return transfer is not None and transfer.sends and self._engine.stats().kv_usage > 0

    async def stop(self) -> None:
        """Close both ports and stop the engine. Safe to call twice."""
        if self._guard is not None:
            self._guard.closed = True
        if self._telemetry is not None:
            await self._telemetry.stop()
        self._forget_residency()
        if self._http is not None and self._http_task is not None:
            self._http.end()
            await asyncio.wait({self._http_task}, timeout=5.0)
        await self._engine.stop()
        spans, self._spans = self._spans, None
        await close(spans)

    def _follow_residency(self) -> AsgiApp:
        """Follow the KV events of each of the engine's ranks, if it has any; return the app to serve."""
        app, engine = self._engine.app, self._engine
        of_ranks = [engine.kv_events(rank) for rank in range(engine.ranks)]
        followed = [events for events in of_ranks if events is not None and events.block_tokens]
        if len(followed) < engine.ranks or self._pools:
            return app
        self._residencies = [
            ReplicaResidency(events, self._hasher, self._model.name, engine.stats(rank).kv_capacity_tokens)
            for rank, events in enumerate(followed)
        ]
        return RequestBodies(app)

    def _forget_residency(self) -> None:
        for residency in self._residencies:
            residency.close()
        self._residencies = []

    @property
    def _pools(self) -> bool:
        task = self._model.served_task
        return task is not None and task.pools

    async def _prove_affinity(self, app: AsgiApp) -> AffinityProof:
        """Run the affinity self-test on each rank; if a rank's residency proves wrong, stop following it on all."""
        if self._pools:
            reason = (
                f"a model that serves {self._model.served_task} is routed by load: no answer leaves a prompt behind"
            )
            return AffinityProof(caches=False, is_exact=False, reason=reason)
        events, ranks = self._engine.kv_events(), self._engine.ranks
        block_tokens = (events.block_tokens if events is not None else 0) or PROBE_BLOCK_TOKENS
        tests = [
            AffinitySelfTest(
                app,
                self._model.name,
                self._hasher,
                residency,
                block_tokens=block_tokens,
                rank=rank if ranks > 1 else None,
            )
            for rank, residency in enumerate(self._residencies or [None] * ranks)
        ]
        proofs = await asyncio.gather(*(test.run() for test in tests))
        proof = next((proof for proof in proofs if not proof.is_exact), proofs[0])
        log = _log.info if proof.is_exact else _log.warning
        log(
            "affinity self-test",
            replica=self._replica_id,
            residency=proof.mode,
            found=proof.reason,
        )
        if not proof.is_exact:
            self._forget_residency()
        return proof

    async def _start_http(self, guard: ReplicaGuard) -> int:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.bind((self._host, 0))
        config = uvicorn.Config(
            guard,
            http="httptools",
            ws="auto",
            lifespan="auto",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            backlog=BACKLOG,
        )
        self._http = _HttpServer(config)
        self._http_task = asyncio.get_running_loop().create_task(self._http.serve(sockets=[sock]), name="replica http")
        while not self._http.started:
            if self._http_task.done():
                raise EngineStartError("the replica's HTTP server did not start") from self._http_task.exception()
            await asyncio.sleep(0.01)
        return int(sock.getsockname()[1])
