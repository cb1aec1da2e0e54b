"""A model replica as Ray Serve runs it: engine, ports, lease, health and a graceful end."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import structlog

import deployments.ray_api as ray_api
from cluster.errors import ClusterError, EngineError, EngineStartError, GangLostError
from cluster.placement.gang_of_model import needs_gang
from cluster.placement.node_labels import DOMAIN
from cluster.spec.kv_duties import NO_DUTIES, KvDuties
from cluster.spec.model_parts.adapter_spec import AdapterSpec
from cluster.spec.model_spec import ModelSpec
from deployments.autoscaling.client import ReplicaPush, ScalingClient
from deployments.directory.client import Announcement, DirectoryClient
from deployments.gang_placement.replica_gang import ReplicaGang
from deployments.process.logs import configure_logs
from deployments.process.loop_thread import LoopThread
from deployments.replica.engine_registry import engine_for
from deployments.replica.partners import why_unfit
from deployments.replica.server import ReplicaServer
from router.replicas.endpoint import Endpoint

HEALTH_TIMEOUT_S = 8.0
"""Seconds after which a health check without an answer means that the replica's event loop is stuck.

Below Serve's own limit, so that this reason is given.
"""

_log = structlog.get_logger("rackserve.replica")


def replica_config(model: ModelSpec, *, is_autoscaled: bool) -> dict[str, Any]:
    """Return what the running replicas of a pool apply without a restart (`reconfigure`).

    Args:
        model: the model, as the pool runs it.
        is_autoscaled: a pool of the model is autoscaled, this one or another, so the replicas send their figures.
    """
    return {
        "is_autoscaled": is_autoscaled,
        "drain_timeout_s": model.drain_timeout_s,
        "adapters": [adapter.model_dump() for adapter in model.adapters],
    }


class ModelReplica:
    """The Serve deployment of a model's pool. Requests arrive at its own port; Serve only starts, checks and stops it.

    A SIGKILL needs no handling here: Ray ends the whole process group of a dead worker, engine processes included.

    A replica of several GPUs is a gang. It waits for its GPUs before it starts its engine. When a node of theirs is
    gone it ends at once, so that Ray frees the other GPUs and Serve starts a new replica.

    Args:
        model: what to serve, as the replica's pool runs it.
        duties: which KV blocks it passes on to replicas of other pools, or fetches from them.
        spares_per_domain: nodes of each domain kept for gangs that lost one.
    """

    def __init__(self, model: ModelSpec, duties: KvDuties = NO_DUTIES, spares_per_domain: int = 0) -> None:
        configure_logs()
        self._model = model
        self._duties = duties
        self._spares_per_domain = spares_per_domain
        self._identity = ray_api.this_replica()
        self._drain_s = model.drain_timeout_s
        self._scaling = ScalingClient(self._identity.application)
        self._push: ReplicaPush | None = None
        self._adapters: tuple[AdapterSpec, ...] = ()
        self._loop = LoopThread(f"replica {model.label}")
        self._starting: asyncio.Task[None] | None = None
        self._server: ReplicaServer | None = None
        self._announcement: Announcement | None = None

    async def _started(self) -> None:
        """Start at the first call; return once the replica has started."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            raise EngineStartError(f"{self._model.label}: told to end before it had started") from None

    async def _start(self) -> None:
        began_s = time.monotonic()
        model, identity = self._model.model_copy(update={"adapters": self._adapters}), self._identity
        node_id, host = ray_api.node_id(), ray_api.node_address()
        gang: ReplicaGang | None = None
        if needs_gang(model):
            gang = ReplicaGang(model, identity.unique_id, self._spares_per_domain, node_id, host)
            await gang.acquire()
            began_s = time.monotonic()  # a cold start does not include waiting for GPUs
        server = self._server = ReplicaServer(
            model,
            engine_for(model, gang.place if gang is not None else None, duties=self._duties, host=host),
            replica_id=identity.unique_id,
            host=host,
            node_id=node_id,
            domain=gang.domain if gang is not None else ray_api.node_labels().get(DOMAIN, ""),
            credential=ray_api.shared_secret(identity.application),
            check_gang=gang.check if gang is not None else None,
        )
        directory = DirectoryClient.of(identity.application)
        try:
            endpoint = await server.start()
            await self._check_partners(endpoint, directory)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                # Serve keeps the reason only in its controller; `rackserve logs` reads the replica's own log.
                _log.error("did not start", model=model.name, replica=identity.unique_id, reason=str(error))
            await server.stop()
            raise
        self._announcement = Announcement(directory, endpoint, server.check_health)
        start_s = time.monotonic() - began_s
        self._push = ReplicaPush(self._scaling, endpoint, lambda: server.figures(start_s))
        _log.info("ready", model=endpoint.model, replica=endpoint.replica_id, port=endpoint.http_port)

    async def _check_partners(self, endpoint: Endpoint, directory: DirectoryClient) -> None:
        """Check that the replicas that are to pass KV blocks on to this one, or get them from it, can.

        Raises:
            EngineStartError: there are some, and none fits.
        """
        if endpoint.transfer is None:
            return
        try:
            view = await directory.watch("", -1)
        except ClusterError as error:
            _log.warning("the directory is away; KV transfers are not checked", reason=str(error))
            return
        reason = why_unfit(endpoint, view.replicas)
        if reason:
            raise EngineStartError(f"{endpoint.model}: {reason}")

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Apply settings that may change without a restart, at the start and at every change.

        The first call starts the replica. The constructor must not: while it runs, Serve's order to end would wait.

        Args:
            config: what `replica_config` returned.

        Raises:
            EngineStartError: the replica did not start.
        """
        self._drain_s = float(config["drain_timeout_s"])
        self._scaling.enabled = bool(config["is_autoscaled"])
        before, self._adapters = self._adapters, tuple(map(AdapterSpec.model_validate, config["adapters"]))
        await self._loop.run_async(self._started())
        if self._server is not None and before != self._adapters:
            await self._loop.run_async(self._server.set_adapters(self._adapters))

    async def check_health(self) -> None:
        """Answer Serve's health check.

        Raises:
            EngineError: this replica is not well; Serve replaces it.
        """
        if self._server is None:
            raise EngineError("the replica was not started")
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._loop.run_async(self._server.check_health())
        except TimeoutError as error:
            raise EngineError(f"the replica's event loop is stuck: {error}") from error
        except GangLostError as error:
            _log.error("gang lost; ending", reason=str(error))
            await self._loop.run_async(self._leave_at_once())
            ray_api.end_this_actor()  # Serve would replace this replica only after two more failed checks
            raise

    async def _leave_at_once(self) -> None:
        if self._announcement is not None:
            await self._announcement.withdraw()
        if self._server is not None:
            await self._server.stop()

    async def __del__(self) -> None:
        """Obey Serve's order to end: leave the directory, let running requests finish, then stop the engine."""
        await self._loop.run_async(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        if self._announcement is not None:
            await self._announcement.withdraw()
            if self._push is not None:
                await self._push.leave()
            if self._server is not None:
                await self._server.drain(self._drain_s)
        if self._server is not None:
            await self._server.stop()
