"""One gateway process: the data plane, fed by the directory and by every replica's telemetry. Knows no Serve."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from cluster.autoscaling.scaling_view import ScalingView
from cluster.spec.cluster_spec import GatewaySpec, ModelSpec
from deployments.autoscaling.load_push import LoadPush, LoadSink
from deployments.directory.client import Announcement, DirectoryClient, follow
from deployments.directory.membership import GatewayEndpoint, LastKnownReplicas, View
from deployments.gateway.rolling_update import SUCCESSOR_S, may_leave
from deployments.process.machine_clock import MachineClock
from deployments.telemetry.client import TelemetryClient
from deployments.tracing.wiring import close, gateway_tracer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint, Signal
from router.scheduling.registry import reads_prompts

FIRST_VIEW_S = 2.0
"""A directory that is away does not keep a gateway from listening for longer than this."""
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on


class GatewayProcess:
    """Runs one gateway; used from one event loop as `start`, then `stop`.

    Args:
        spec: where to listen and the limits.
        gateway_id: this life of this process.
        host: the address of its node, told in the directory where `spec.host` is no address but all of them.
        node_id: the Ray node, or "".
        settings: a digest of what this gateway is started with.
        credential: the cluster's internal credential.
        directory: where replicas are found and this gateway is announced.
        load_sink: who is told of the load of the models, twice a second; None: nobody.
        scaling_views: returns how models are scaled, for the metrics.
    """

    def __init__(  # noqa: PLR0913 - the composition of one process
        self,
        spec: GatewaySpec,
        models: Sequence[ModelSpec],
        *,
        gateway_id: str,
        host: str,
        credential: str,
        directory: DirectoryClient,
        node_id: str = "",
        settings: str = "",
        load_sink: LoadSink | None = None,
        scaling_views: Callable[[], Mapping[str, ScalingView]] = dict,
    ) -> None:
        self._tracer = gateway_tracer()
        self._gateway_id = gateway_id
        self._uses_tls = spec.tls is not None
        self._host = host if spec.host in WILDCARDS else spec.host
        self._node_id = node_id
        self._settings = settings
        self._endpoint: GatewayEndpoint | None = None
        self._may_leave = asyncio.Event()
        self._may_leave.set()
        self._directory = directory
        self._gateway = Gateway(
            spec,
            models,
            gateway_id=gateway_id,
            credential=credential,
            clock=MachineClock(),
            rng=Random(),  # noqa: S311 - breaks ties
            tracer=self._tracer,
        )
        self._gateway.tell_scaling(scaling_views)
        self._prompt_models = _reading_prompts(models)
        self._credential = credential
        self._known = LastKnownReplicas()
        self._telemetry: TelemetryClient | None = None
        self._announcement: Announcement | None = None
        self._load_sink = load_sink
        self._load_push: LoadPush | None = None
        self._follower: asyncio.Task[None] | None = None
        self._has_view = asyncio.Event()

    async def start(self) -> GatewayEndpoint:
        """Follow the directory, then listen and join it; returns where it listens.

        Others may listen on the port already: no request should come here instead before the replicas are known.

        Raises:
            OSError: a port is taken.
        """
        self._telemetry = TelemetryClient(
            self._gateway_id,
            self._credential,
            self._gateway.apply_report,
            self._gateway.apply_residency,
            self._wants_residency,
        )
        self._follower = asyncio.get_running_loop().create_task(
            follow(self._directory, self._apply_view), name="directory"
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_VIEW_S):
                await self._has_view.wait()
        await self._gateway.start()
        if self._load_sink is not None:
            self._load_push = LoadPush(self._load_sink, self._gateway_id, self._gateway.load)
            self._gateway.when_held(self._load_push.hurry)
        self._endpoint = endpoint = GatewayEndpoint(
            gateway_id=self._gateway_id,
            host=self._host,
            port=self._gateway.port,
            admin_port=self._gateway.admin_port,
            node_id=self._node_id,
            scheme="https" if self._uses_tls else "http",
            settings=self._settings,
        )
        self._announcement = Announcement(self._directory, endpoint, self.check_health)
        return endpoint

    async def set_models(self, models: Sequence[ModelSpec]) -> None:
        """Serve exactly these models from now on."""
        self._gateway.set_models(models)
        self._prompt_models = _reading_prompts(models)
        if self._telemetry is not None:
            self._apply(self._known.replicas)  # replicas of a new model may have been there before their model

    async def state(self) -> dict[str, Any]:
        """Return what the data plane knows."""
        return self._gateway.state()

    async def check_health(self) -> None:
        """Return if the gateway works.

        Raises:
            RuntimeError: it no longer follows the directory.
        """
        if self._follower is not None and self._follower.done():
            raise RuntimeError("the gateway no longer follows the directory") from self._follower.exception()

    async def stop(self, drain_s: float) -> None:
        """Leave the directory, stop accepting, let running answers finish for `drain_s`, then end everything.

        In an update it goes on as ever until its node has a new gateway.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SUCCESSOR_S):
                await self._may_leave.wait()
        if self._announcement is not None:
            await self._announcement.withdraw()
        await self._gateway.stop(drain_s)
        if self._load_push is not None:
            await self._load_push.stop()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._telemetry is not None:
            await self._telemetry.stop()
        await close(self._tracer)

    def _wants_residency(self, endpoint: Endpoint) -> bool:
        return Signal.RESIDENCY in endpoint.signals and endpoint.model in self._prompt_models

    def _apply_view(self, view: View) -> None:
        if self._endpoint is None or may_leave(self._endpoint, view):
            self._may_leave.set()
        else:
            self._may_leave.clear()
        self._apply(self._known.apply(view))
        self._has_view.set()

    def _apply(self, replicas: Sequence[Any]) -> None:
        self._gateway.apply_view(replicas)
        if self._telemetry is not None:
            self._telemetry.follow(replicas)


def _reading_prompts(models: Sequence[ModelSpec]) -> frozenset[str]:
    return frozenset(model.name for model in models if reads_prompts(model.policy))
