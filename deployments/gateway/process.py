"""One gateway process: the data plane, with the directory and each replica's telemetry. It does not use Ray Serve."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from cluster.autoscaling.scaling_view import ScalingView
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.model_spec import ModelSpec
from deployments.autoscaling.load_push import LoadPush, LoadSink
from deployments.directory.client import Announcement, DirectoryClient, follow
from deployments.directory.lease_table import RENEW_S
from deployments.directory.membership import GatewayEndpoint, LastKnownReplicas, View
from deployments.gateway.admin_key import with_admin_key_read
from deployments.gateway.admin_key_watch import AdminKeyWatch
from deployments.gateway.head_watch import HeadWatch
from deployments.gateway.limit_renewal import LimitRenewal
from deployments.gateway.rolling_update import SUCCESSOR_S, may_leave
from deployments.gateway.tenant_keys import with_keys_read
from deployments.gateway.tenants_watch import TenantsWatch
from deployments.process.machine_clock import MachineClock
from deployments.telemetry.client import TelemetryClient
from deployments.tracing.wiring import close, gateway_tracer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.ranks import divided
from router.scheduling.registry import reads_prompts

FIRST_VIEW_S = 2.0
"""Seconds that a starting gateway waits for the directory's first view; then it listens without one."""
SETTLE_EVERY_S = 1.0
"""Seconds between two looks whether an admin port below this gateway's has become free."""
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not listened on
"""Values of `host` that stand for all addresses of a node."""


class GatewayProcess:
    """Runs one gateway; used from one event loop: `start`, then `stop`.

    Args:
        spec: addresses to listen on, limits and tenants.
        models: the models to serve.
        gateway_id: id of this gateway; a restarted one has another.
        host: address of the node; it is announced if `spec.host` stands for all addresses.
        credential: the cluster's internal credential.
        directory: lists the replicas; this gateway is announced there.
        node_id: the Ray node it runs on; "": not known.
        settings: a digest of what this gateway was started with.
        load_sink: takes the models' load twice a second while one of them autoscales; None: it is not sent.
        scaling_views: returns the state of autoscaling of the pools, by model, for the metrics.
        ask_head: asks Ray's head whether it is there, and raises ClusterError if not; None: nobody looks.
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
        scaling_views: Callable[[], Mapping[str, Sequence[ScalingView]]] = dict,
        ask_head: Callable[[], None] | None = None,
    ) -> None:
        self._tracer = gateway_tracer()
        self._gateway_id = gateway_id
        self._uses_tls = spec.tls is not None
        self._host = host if spec.host in WILDCARDS else spec.host
        admin_host = spec.admin_host or spec.host
        self._admin_host = host if admin_host in WILDCARDS else admin_host
        self._node_id = node_id
        self._settings = settings
        self._endpoint: GatewayEndpoint | None = None
        self._may_leave = asyncio.Event()
        self._may_leave.set()
        self._directory = directory
        self._gateway = Gateway(
            with_admin_key_read(spec),
            models,
            gateway_id=gateway_id,
            credential=credential,
            clock=MachineClock(),
            rng=Random(),  # noqa: S311 - breaks ties
            tracer=self._tracer,
            admin_credential=credential,
        )
        self._gateway.tell_scaling(scaling_views)
        self._prompt_models = _reading_prompts(models)
        self._autoscales = _autoscales(models)
        self._credential = credential
        self._known = LastKnownReplicas()
        self._telemetry: TelemetryClient | None = None
        self._announcement: Announcement | None = None
        self._load_sink = load_sink
        self._load_push: LoadPush | None = None
        self._ask_head = ask_head
        self._head_watch: HeadWatch | None = None
        self._tenants = TenantsWatch(self._gateway, lambda: _tenants_of(spec)) if spec.tenants else None
        self._limits: LimitRenewal | None = None
        self._admin_key = AdminKeyWatch(self._gateway, spec) if spec.admin_key_file else None
        self._settling: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._has_view = asyncio.Event()

    async def start(self) -> GatewayEndpoint:
        """Follow the directory, then listen, then join the directory; return where the gateway listens.

        Other gateways may share the port. So this one listens only once it knows the replicas, or after `FIRST_VIEW_S`:
        before, it could only refuse requests that the others can serve.

        Raises:
            OSError: a port is taken, or the certificate cannot be used.
        """
        self._telemetry = TelemetryClient(
            self._gateway_id,
            self._credential,
            self._gateway.apply_report,
            self._gateway.apply_residency,
            self._wants_residency,
            on_adapters=self._gateway.apply_adapters,
        )
        self._follower = asyncio.get_running_loop().create_task(
            follow(self._directory, self._apply_view), name="directory"
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_VIEW_S):
                await self._has_view.wait()
        self._limits = LimitRenewal(self._directory, self._gateway_id, self._gateway)
        await self._limits.renew()  # before it listens: with another's part of the limits it would let too much through
        self._limits.start()
        await self._gateway.start()
        if self._tenants is not None:
            self._tenants.start()
        if self._admin_key is not None:
            self._admin_key.start()
        if self._ask_head is not None:
            self._head_watch = HeadWatch(self._gateway, self._ask_head)
        await self._push_load_if_wanted()
        self._endpoint = endpoint = GatewayEndpoint(
            gateway_id=self._gateway_id,
            host=self._host,
            port=self._gateway.port,
            admin_port=self._gateway.admin_port,
            node_id=self._node_id,
            scheme="https" if self._uses_tls else "http",
            settings=self._settings,
            admin_host=self._admin_host if self._admin_host != self._host else "",
        )
        self._announcement = Announcement(self._directory, endpoint, self.check_health)
        self._settling = asyncio.get_running_loop().create_task(self._settle_admin_port(), name="admin port")
        return endpoint

    async def _settle_admin_port(self) -> None:
        """Take the first admin port that becomes free, and say so in the directory before the old one is closed."""
        while True:
            await asyncio.sleep(SETTLE_EVERY_S)
            old = await self._gateway.settle_admin_port()
            if old is None or self._endpoint is None or self._announcement is None:
                continue
            self._endpoint = replace(self._endpoint, admin_port=self._gateway.admin_port)
            self._announcement.change(self._endpoint)
            await asyncio.sleep(2 * RENEW_S)
            await self._gateway.close_listener(old)

    async def set_models(self, models: Sequence[ModelSpec]) -> None:
        """Serve exactly these models from now on; running requests go on.

        Raises:
            PolicyError: a model names a policy that does not exist.
        """
        self._gateway.set_models(models)
        self._prompt_models = _reading_prompts(models)
        self._autoscales = _autoscales(models)
        if self._telemetry is not None:
            await self._push_load_if_wanted()
            self._apply(self._known.replicas)  # a new model's replicas may have been listed before the model

    async def state(self) -> dict[str, Any]:
        """Return the data plane's state, as plain JSON values."""
        return self._gateway.state()

    async def check_health(self) -> None:
        """Check that the gateway works.

        Raises:
            RuntimeError: it no longer follows the directory.
        """
        if self._follower is not None and self._follower.done():
            raise RuntimeError("the gateway no longer follows the directory") from self._follower.exception()

    async def stop(self, drain_s: float) -> None:
        """Leave the directory, stop accepting, let running answers finish for `drain_s` seconds, then end everything.

        In an update the gateway first goes on serving until its node has a new gateway, at most `SUCCESSOR_S`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SUCCESSOR_S):
                await self._may_leave.wait()
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        if self._announcement is not None:
            await self._announcement.withdraw()
        if self._admin_key is not None:
            await self._admin_key.stop()
        if self._tenants is not None:
            await self._tenants.stop()
        if self._limits is not None:
            await self._limits.stop()
        if self._head_watch is not None:
            await self._head_watch.stop()
        await self._gateway.stop(drain_s)
        if self._load_push is not None:
            await self._load_push.stop()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        if self._telemetry is not None:
            await self._telemetry.stop()
        await close(self._tracer)

    async def _push_load_if_wanted(self) -> None:
        """Push the load while a model autoscales, for nobody else wants it."""
        if self._load_sink is not None and self._autoscales and self._load_push is None:
            self._load_push = LoadPush(self._load_sink, self._gateway_id, self._gateway.load)
            self._gateway.when_held(self._load_push.hurry)
        elif not self._autoscales and self._load_push is not None:
            push, self._load_push = self._load_push, None
            await push.stop()

    def _wants_residency(self, endpoint: Endpoint) -> bool:
        return Signal.RESIDENCY in endpoint.signals and endpoint.model in self._prompt_models

    def _apply_view(self, view: View) -> None:
        if self._endpoint is None or may_leave(self._endpoint, view):
            self._may_leave.set()
        else:
            self._may_leave.clear()
        self._apply(self._known.apply(view))
        self._has_view.set()

    def _apply(self, replicas: Sequence[Endpoint]) -> None:
        rows = divided(replicas)
        self._gateway.apply_view(rows)
        if self._telemetry is not None:
            self._telemetry.follow(rows)


def _tenants_of(spec: GatewaySpec) -> tuple[tuple[TenantSpec, ...], list[str]]:
    """Return the tenants with their keys read, and the files of those keys."""
    return with_keys_read(spec).tenants, [tenant.key_file for tenant in spec.tenants if tenant.key_file]


def _autoscales(models: Sequence[ModelSpec]) -> bool:
    return any(model.is_autoscaled for model in models)


def _reading_prompts(models: Sequence[ModelSpec]) -> frozenset[str]:
    return frozenset(model.name for model in models if reads_prompts(model.policy))
