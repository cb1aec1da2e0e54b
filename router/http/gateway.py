"""The data plane of one gateway process: its sockets, and its updates from the directory and from telemetry."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from socket import socket
from typing import TYPE_CHECKING, Any, cast

import structlog

from cluster.autoscaling.metrics.figures import GatewayFigures
from cluster.autoscaling.scaling_view import ScalingView
from cluster.clock import Clock
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.model_spec import ModelSpec
from router import FORM
from router.estimator.learned_rates import ProbeOutcome
from router.flow_control.tenant_limits.limit_shares import Deal, LimitKey, Want
from router.http.access_control.admin_access import AdminAccess
from router.http.access_control.auth import Authenticator, OpenAccess, keys_of
from router.http.access_control.cors import Cors
from router.http.access_control.open_door import open_door
from router.http.connection.client_connection import ClientConnection, Handler
from router.http.connection.open_connections import OpenConnections
from router.http.data_plane.access_log import AccessLog
from router.http.data_plane.capture import Capture
from router.http.data_plane.data_plane import TICK_S, DataPlane
from router.http.data_plane.page_request import get_page
from router.http.data_plane.probe_request import TimedAnswer, ask_timed
from router.http.data_plane.tracing import Tracer
from router.http.front import Front
from router.http.metrics.meters import ProbeResult
from router.http.pages.admin_pages import AdminPages
from router.http.pages.pages import Pages
from router.http.pages.readiness import Readiness, readiness_of
from router.http.usage.ledger import ledger_of
from router.http.wire.listen import Listener, first_free_socket, freed_socket, shared_socket
from router.http.wire.server_certificate import ServerCertificate
from router.prefix_cache.exact import ResidencyDelta
from router.replicas.adapter_report import AdapterReport
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport

if TYPE_CHECKING:
    from router.http.pages.operations import Operation

LOOPBACK = "127.0.0.1"
"""Address that only this machine reaches."""
FLUSH_S = 0.2
"""Seconds that a stopping gateway gives its last answers to leave the process."""

_log = structlog.get_logger("rackserve.gateway")


class Gateway:
    """The data plane of one gateway process.

    It is used from one event loop: `start`, then `apply_view`, `apply_report` and `apply_residency` as news comes, then
    `stop`.

    Args:
        spec: addresses to listen on, limits and tenants.
        models: the models to serve.
        gateway_id: name of this process, sent to replicas and shown in `state`.
        credential: the cluster's internal credential, sent to replicas; "": none is sent.
        clock: tells the time.
        rng: breaks ties.
        authenticator: maps API keys to tenants. None: the tenants of `spec` are used, or open access if it has none.
        tracer: makes spans of requests; None: requests are not traced.
        admin_credential: a bearer token that opens the admin port, besides the operators' key: the cluster's internal
            credential, for RackServe's own commands. "": the admin port is for this machine, where `spec` says no more.

    Raises:
        PolicyError: a model names a policy that does not exist.

    Attributes:
        port: the apps' port; 0 before `start`.
        admin_port: the operators' port; 0 before `start`.
        operations: what operators may do on their port, by path; filled before `start`.
        head_problem: what cannot be done while Ray's head is away, for /state and /ready; "": it is there, or there is
            none.
        tenants_problem: why changed tenants or keys were not taken over, for /state; "": they were.
    """

    def __init__(  # noqa: PLR0913 - the composition of one process
        self,
        spec: GatewaySpec,
        models: Sequence[ModelSpec],
        *,
        gateway_id: str,
        credential: str,
        clock: Clock,
        rng: Random,
        authenticator: Authenticator | None = None,
        tracer: Tracer | None = None,
        admin_credential: str = "",
    ) -> None:
        self.port = 0
        self.admin_port = 0
        self.operations: dict[bytes, Operation] = {}
        self.head_problem = ""
        self.tenants_problem = ""
        self._spec = spec
        self._gateway_id = gateway_id
        self._plane = DataPlane(
            spec,
            authenticator or (keys_of(spec.tenants) if spec.tenants else OpenAccess()),
            gateway_id=gateway_id,
            credential=credential,
            rng=rng,
            now_s=clock.now_s,
        )
        self._admin_credential = admin_credential
        self._access = AdminAccess(spec.admin_key_sha256, [admin_credential], is_opened=bool(spec.admin_host))
        self._now_s = clock.now_s
        self._certificate: ServerCertificate | None = None
        self._plane.tracer = tracer
        self._connections = OpenConnections()
        self._listeners: list[Listener] = []
        self._admin: Listener | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._has_view = False
        self._has_been_ready = False
        self._required: frozenset[str] = frozenset()
        self.set_models(models)

    async def start(self) -> None:
        """Listen on both ports and begin to enforce time limits.

        Raises:
            OSError: a port is taken by a process that does not share it, or the certificate, the access log or the
                folder of captured traces cannot be used.
        """
        loop = asyncio.get_running_loop()
        if self._spec.access_log:
            self._plane.access_log = AccessLog(self._spec.access_log)
        self._plane.usage = ledger_of(self._spec.usage, self._gateway_id)
        if self._spec.capture:
            tenants = [tenant.name for tenant in self._spec.tenants]
            self._plane.capture = Capture(self._spec.capture, self._gateway_id, tenants)
        self._certificate = ServerCertificate(self._spec.tls) if self._spec.tls is not None else None
        front = Front(self._plane, Pages(self._plane, self.readiness))
        apps_socket = shared_socket(self._spec.host, self._spec.port)
        cors = Cors(self._spec.cors.origins) if self._spec.cors.origins else None
        self.port = (await self._listen(apps_socket, front, self._certificate, cors)).port
        if isinstance(self._plane.authenticator, OpenAccess) and (opened := open_door(self._spec)):
            _log.warning(opened)
        self._admin = await self._listen_for_operators(first_free_socket(self._admin_host(), self._spec.admin_port))
        self._ticker = loop.create_task(self._tick())

    def _admin_host(self) -> str:
        """Return the address of the admin port: loopback, unless told otherwise or guarded by a credential."""
        return self._spec.admin_host or (self._spec.host if self._admin_credential else LOOPBACK)

    async def _listen_for_operators(self, sock: socket) -> Listener:
        pages = AdminPages(self._plane, self.readiness, self.state, self._access, self.operations)
        listener = await self._listen(sock, pages)
        self.admin_port = listener.port
        return listener

    async def settle_admin_port(self) -> Listener | None:
        """Listen for operators on the first free port below the present one, such as a gateway's that has ended.

        So admin ports stay `admin_port` and those after it, however often gateways are replaced.

        Returns:
            The listener of the port up to now, to be closed once the new one is known; None: nothing has changed.
        """
        before, wanted = self._admin, self._spec.admin_port
        if before is None or not wanted or self._plane.draining:
            return None
        sock = freed_socket(self._admin_host(), wanted, self.admin_port)
        if sock is None:
            return None
        try:
            self._admin = await self._listen_for_operators(sock)
        except OSError:  # another process was faster
            sock.close()
            return None
        return before

    async def close_listener(self, listener: Listener) -> None:
        """Close a port that is no longer used."""
        self._listeners.remove(listener)
        await listener.close()

    def set_admin_key(self, key_sha256: str) -> None:
        """Let holders of exactly this operators' key in from now on."""
        self._access.set_key(key_sha256)

    async def _listen(
        self,
        sock: socket,
        handler: Handler,
        certificate: ServerCertificate | None = None,
        cors: Cors | None = None,
    ) -> Listener:
        listener = Listener(
            sock,
            lambda: cast("asyncio.Protocol", ClientConnection(self._plane, handler, self._connections, cors)),
            tls=certificate.context if certificate is not None else None,
            handshake_timeout_s=self._spec.header_timeout_s,
        )
        await listener.start()
        self._listeners.append(listener)
        return listener

    def set_models(self, models: Sequence[ModelSpec]) -> None:
        """Serve exactly these models from now on; running requests go on.

        Raises:
            PolicyError: a model names a policy that does not exist.
        """
        self._plane.replicas_gone(self._plane.models.set_models(models))
        self._required = frozenset(model.name for model in models if model.is_always_there)
        self._plane.request_timeouts_s = {model.name: model.request_timeout_s for model in models}

    def set_tenants(self, tenants: Sequence[TenantSpec]) -> None:
        """Let exactly these tenants in from now on, at least one; running requests go on."""
        self._plane.authenticator = keys_of(tenants)
        self._plane.models.set_tenants(tenants)

    def apply_view(self, endpoints: Sequence[Endpoint]) -> None:
        """Take the replicas that exist, from the directory."""
        self._has_view = True
        self._plane.replicas_gone(self._plane.models.set_replicas(endpoints))

    def expect_models_of(self, servers: Sequence[str]) -> None:
        """Name the servers whose models nobody knows yet: until they are heard of, any model may still come."""
        self._plane.models.unheard = tuple(servers)

    async def get(self, endpoint: Endpoint, path: str, most_bytes: int) -> tuple[int, bytes]:
        """Ask a replica for a page, over the same connections as requests; return status and body.

        Raises:
            OSError: it refused the connection or broke off.
            TimeoutError: it did not accept the connection in time. For its answer the caller sets the limit.
            ValueError: its answer has over `most_bytes` bytes, or is no HTTP.
        """
        return await get_page(self._plane.route_at(endpoint), path, most_bytes)

    async def ask_timed(
        self, endpoint: Endpoint, path: str, body: bytes, is_wanted: Callable[[], bool]
    ) -> TimedAnswer | None:
        """Send a replica a request of the gateway's own and time its answer; see `data_plane/probe_request.py`."""
        route = self._plane.route_at(endpoint)
        return await ask_timed(route, path, body, now_s=self._now_s, is_wanted=is_wanted)

    def requests_at(self, replica_id: str) -> tuple[int, int]:
        """Return how many requests of this gateway run on a server, and how many were ever sent there."""
        return self._plane.models.requests_at(replica_id)

    def wants_rates(self, replica_id: str) -> bool:
        """Return whether a server has a model whose rates there are used, and nothing has told them yet."""
        return self._plane.models.wants_rates(replica_id)

    def learn_rates(self, replica_id: str, probes: Sequence[ProbeOutcome]) -> None:
        """Learn a server's rates from probes, at least one, for all of its models of which nothing is known yet."""
        self._plane.models.learn_rates(replica_id, probes)

    def count_probe(self, result: ProbeResult) -> None:
        """Count a probe of a server's rates in the metrics."""
        self._plane.meters.probes[result] += 1

    def forget_way(self, replica_id: str) -> None:
        """Close the idle connections to a replica that is reached in another way from now on, or is gone."""
        self._plane.forget_way(replica_id)

    @property
    def asked(self) -> int:
        """Requests so far whose client may ask."""
        return self._plane.asked

    def signs_of_life(self, endpoint: Endpoint) -> int:
        """Return a number that grows with each answer of a replica to a client, and while streams flow."""
        return self._plane.route_at(endpoint).pool.signs_of_life

    def heard_of(self, replica_id: str) -> None:
        """Note that a server answered its poll, and is the process that it was."""
        self._plane.models.heard_of(replica_id)

    def apply_report(self, replica_id: str, report: LoadReport | None) -> None:
        """Take a replica's load report; None: its reports no longer arrive."""
        self._plane.models.report(replica_id, report)

    def apply_adapters(self, replica_id: str, report: AdapterReport) -> None:
        """Take a replica's report of its LoRA adapters."""
        self._plane.models.report_adapters(replica_id, report)

    def load(self) -> Mapping[str, GatewayFigures]:
        """Return the figures for the autoscaler, by model."""
        return self._plane.models.load()

    def tell_scaling(self, views: Callable[[], Mapping[str, Sequence[ScalingView]]]) -> None:
        """Show in the metrics how models are scaled; `views` returns it, by model."""
        self._plane.scaling_views = views

    def when_held(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever a request is held because its model has no replica."""
        self._plane.models.on_held = tell

    @property
    def has_limits(self) -> bool:
        """Whether any tenant has limits that gateways share."""
        return self._plane.models.rates.applies

    def limit_wants(self) -> dict[LimitKey, Want]:
        """Return what is wanted here of the tenants' limits that are in use here."""
        return self._plane.models.rates.wants(self._now_s())

    def share_limits(self, deal: Deal) -> None:
        """Use these parts of the tenants' limits from now on; without a call it uses all of them."""
        self._plane.models.rates.share(deal, self._now_s())

    def apply_residency(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Take the chunks that a replica's cache gained and lost; False: some are missing, so ask for a snapshot."""
        return self._plane.models.apply_residency(replica_id, delta)

    def readiness(self) -> Readiness:
        """Return whether every model that must have a replica has one, and if not, what is missing."""
        if self._plane.draining:
            return Readiness(is_ready=False, reason="the gateway is stopping")
        if not self._has_view:
            return Readiness(is_ready=False, reason="the directory has not been heard of yet")
        fleets = {name: dispatcher.fleet for name, dispatcher in self._plane.models.dispatchers().items()}
        if not fleets:
            unheard = self._plane.models.unheard
            reason = f"no answer yet from: {', '.join(unheard)}" if unheard else "no server has a model"
            return Readiness(is_ready=False, reason=reason)
        now = readiness_of(fleets, self._required, has_been_ready=self._has_been_ready)
        self._has_been_ready |= now.is_ready
        return replace(now, reason=f"{now.reason}; {self.head_problem}") if self.head_problem else now

    def state(self) -> dict[str, Any]:
        """Return the state of this process for `rackserve status`, as plain JSON values."""
        ready = self.readiness()
        meters = self._plane.meters
        return {
            "gateway_id": self._gateway_id,
            "form": FORM,
            "port": self.port,
            "admin_port": self.admin_port,
            "ready": ready.is_ready,
            "reason": ready.reason,
            "head_problem": self.head_problem,
            "tenants_problem": self.tenants_problem,
            "connections": meters.connections,
            "outcomes": [
                {"model": model, "tenant": tenant, "outcome": str(outcome), "count": count}
                for (model, tenant, outcome), count in meters.outcomes.items()
            ],
            "adapters": dict(self._plane.models.adapters),
            "models": {
                name: dispatcher.view(self._now_s()) for name, dispatcher in self._plane.models.dispatchers().items()
            },
        }

    async def stop(self, drain_s: float) -> None:
        """Stop accepting connections, let answers finish for `drain_s` seconds, then end them and refuse what waits."""
        self._plane.draining = True
        for listener in self._listeners:
            await listener.close()
        for connection in list(self._connections):
            connection.gateway_stops()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._connections.empty.wait()
        self._plane.models.shut_down()
        for connection in list(self._connections):
            connection.gateway_ends()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await self._connections.empty.wait()
        for connection in list(self._connections):
            connection.transport.abort()
        if self._ticker is not None:
            self._ticker.cancel()
        self._plane.close()
        if self._plane.access_log is not None:
            self._plane.access_log.close()
        if self._plane.usage is not None:
            await asyncio.to_thread(self._plane.usage.close)
        if self._plane.capture is not None:
            self._plane.capture.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._plane.tick()
            if self._certificate is not None:
                self._certificate.refresh(self._now_s())
            self._tick_connections()

    def _tick_connections(self) -> None:
        """Tick each connection; a function of its own, as the ticker would hold the last one until the next tick."""
        for connection in list(self._connections):
            connection.tick()
