"""A gateway as Ray Serve runs it. Apps connect to its own port; Serve only starts, checks and stops it."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import deployments.ray_api as ray_api
from cluster.errors import ClusterError
from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.autoscaling.client import ScalingClient
from deployments.directory.client import DirectoryClient, actor_name
from deployments.gateway.process import GatewayProcess
from deployments.process.garbage_collection import collect_seldom
from deployments.process.logs import configure_logs
from deployments.process.loop_thread import LoopThread

HEALTH_TIMEOUT_S = 5.0
"""Seconds after which a health check without an answer means that the gateway's event loop is stuck."""
EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


class GatewayReplica:
    """The Serve deployment of the gateways, and the root of the application.

    Args:
        spec: where to listen and the limits.
        models: the models' applications. Serve runs them because they are named here; the gateway finds their replicas
            through the directory.
    """

    def __init__(self, spec: GatewaySpec, *models: object) -> None:
        del models
        configure_logs()
        self._spec = spec
        self._loop = LoopThread("gateway")
        self._scaling = ScalingClient(ray_api.this_replica().application)
        self._process: GatewayProcess | None = None

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Apply the models to serve, at the start and at every change.

        Args:
            config: `{"models": [...]}`, each model as the JSON-like form of `ModelSpec`.
        """
        models = [ModelSpec.model_validate(model) for model in config["models"]]
        self._scaling.enabled = any(model.is_autoscaled for model in models)
        if self._process is None:
            self._process = await self._loop.run_async(self._start(models))
        else:
            await self._loop.run_async(self._process.set_models(models))

    async def _start(self, models: list[ModelSpec]) -> GatewayProcess:
        identity = ray_api.this_replica()
        serve_port = ray_api.serve_http_port()
        if self._spec.port and serve_port == self._spec.port:
            raise ClusterError(
                f"port {serve_port} is the apps' (gateway.port), but Ray Serve's own HTTP has it: "
                "give Serve another one (http_options: {port: 8001} in a Serve config file)"
            )
        await _check_port_is_ours(self._spec.port, identity.application)
        process = GatewayProcess(
            self._spec,
            models,
            gateway_id=identity.unique_id,
            host=self._spec.host if self._spec.host not in EVERY_ADDRESS else ray_api.node_address(),
            node_id=ray_api.node_id(),
            settings=_digest(self._spec),
            credential=ray_api.shared_secret(identity.application),
            directory=DirectoryClient.of(identity.application),
            load_sink=self._scaling.gateway,
            scaling_views=lambda: self._scaling.views,
            ask_head=ray_api.check_head,
        )
        await process.start()
        collect_seldom()
        return process

    async def check_health(self) -> None:
        """Answer Serve's health check.

        Raises:
            ClusterError: this gateway is not well; Serve replaces it.
        """
        if self._process is not None:
            try:
                async with asyncio.timeout(HEALTH_TIMEOUT_S):
                    await self._loop.run_async(self._process.check_health())
            except TimeoutError as error:
                raise ClusterError(f"the gateway's event loop is stuck: {error}") from error

    async def __call__(self, _request: object) -> dict[str, Any]:
        """Return, on Serve's own HTTP port, where apps connect; what goes on is for operators."""
        return {"port": self._spec.port}

    async def __del__(self) -> None:
        """Obey Serve's order to end: accept no new connections and let running answers finish."""
        if self._process is not None:
            await self._loop.run_async(self._process.stop(self._spec.drain_timeout_s))
        self._loop.close()


def _digest(spec: GatewaySpec) -> str:
    """Return a digest of what a gateway is started with, except the number of gateways."""
    return hashlib.sha256(spec.model_copy(update={"replicas": 1}).model_dump_json().encode()).hexdigest()[:16]


async def _check_port_is_ours(port: int, application: str) -> None:
    """Check that no other application's gateway has this port on this node: the kernel would mix their requests.

    Raises:
        ClusterError: one has it.
    """
    own = actor_name(application)
    for name in ray_api.actor_names() if port else ():
        if name == own or not name.startswith(actor_name("")):
            continue
        try:
            view = await DirectoryClient(ray_api.existing_actor(name)).watch("", -1)
        except ClusterError:
            continue  # no directory, or one that does not answer: no gateways that matter
        if any(gateway.port == port and gateway.node_id == ray_api.node_id() for gateway in view.gateways):
            raise ClusterError(f"gateway.port: port {port} is that of {name.removeprefix(actor_name(''))} on this node")
