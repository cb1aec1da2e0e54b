"""How gateways and replicas tell the autoscaler their figures: twice a second, and nothing waits for it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import deployments.ray_api as ray_api
from cluster.autoscaling.figures import GatewayFigures, ReplicaFigures
from cluster.errors import ClusterError
from deployments.autoscaling.actor import actor_name

if TYPE_CHECKING:
    from cluster.autoscaling.scaling_view import ScalingView

PUSH_S: Final = 0.5
CALL_TIMEOUT_S: Final = 2.0


class ScalingClient:
    """Tells the autoscaler of one application.

    Calls are made in a thread: looking up an actor blocks while Ray's head is away, and requests must not notice.

    Args:
        application: the Serve application.

    Attributes:
        enabled: some model autoscales; while none does, nothing is told.
        views: how models are scaled, as a gateway was last told.
    """

    def __init__(self, application: str) -> None:
        self._actor = ray_api.existing_actor(actor_name(application))
        self.enabled = False
        self.views: Mapping[str, ScalingView] = {}

    async def gateway(self, gateway_id: str, models: Mapping[str, GatewayFigures]) -> None:
        """Tell what a gateway knows of each model; a `LoadSink`.

        Raises:
            ClusterError: the autoscaler is away.
        """
        if self.enabled:
            self.views = await self._call("gateway", gateway_id, time.monotonic(), models)

    async def replica(self, replica_id: str, model: str, figures: ReplicaFigures) -> None:
        """Tell what a replica that takes requests knows of itself.

        Raises:
            ClusterError: the autoscaler is away.
        """
        if self.enabled:
            await self._call("replica", replica_id, model, figures)

    async def replica_left(self, replica_id: str, model: str) -> None:
        """Tell that a replica takes no more requests; where the autoscaler is away it finds out by the silence."""
        if self.enabled:
            with suppress(ClusterError):
                await self._call("replica_left", replica_id, model)

    async def _call(self, method: str, *args: object) -> Any:  # noqa: ANN401 - whatever that method returns
        return await asyncio.to_thread(self._actor.call_now, method, *args, timeout_s=CALL_TIMEOUT_S)


class ReplicaPush:
    """Tells a replica's figures every `PUSH_S` until it `leaves`; used from one event loop.

    Args:
        client: to the autoscaler.
        replica_id: whose figures.
        model: what it serves.
        figures: gives them.
    """

    def __init__(
        self, client: ScalingClient, replica_id: str, model: str, figures: Callable[[], ReplicaFigures]
    ) -> None:
        self._client = client
        self._replica_id = replica_id
        self._model = model
        self._figures = figures
        self._task = asyncio.get_running_loop().create_task(self._push(), name="figures for the autoscaler")

    async def leave(self) -> None:
        """Tell no more, but that this replica takes no more requests."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.replica_left(self._replica_id, self._model)

    async def _push(self) -> None:
        while True:
            with suppress(ClusterError):  # it restarts, and is told again
                await self._client.replica(self._replica_id, self._model, self._figures())
            await asyncio.sleep(PUSH_S)
