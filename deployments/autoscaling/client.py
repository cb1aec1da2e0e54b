"""Sends the figures of gateways and replicas to the autoscaler, twice a second, without delaying any request."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import deployments.ray_api as ray_api
from cluster.autoscaling.metrics.figures import GatewayFigures, ReplicaFigures
from cluster.errors import ClusterError
from deployments.autoscaling.actor import actor_name
from router.replicas.endpoint import Endpoint

if TYPE_CHECKING:
    from cluster.autoscaling.scaling_view import ScalingView

PUSH_S: Final = 0.5
"""Seconds between two looks at a replica's figures; changed ones are sent."""
UNCHANGED_S: Final = 2.0
"""Seconds after which unchanged figures are sent again: the autoscaler forgets a replica that is silent for 5 s."""
CALL_TIMEOUT_S: Final = 2.0
"""Seconds after which a call of the actor fails."""


class ScalingClient:
    """Sends figures to the autoscaler of one application.

    Calls are made in a thread: looking an actor up blocks while Ray's head is away, which must not delay requests.

    Args:
        application: name of the Serve application.

    Attributes:
        enabled: at least one model autoscales; while it is False nothing is sent.
        views: the state of autoscaling of each model's pools, by model, from the last answer to a gateway's figures.
    """

    def __init__(self, application: str) -> None:
        self._actor = ray_api.existing_actor(actor_name(application))
        self.enabled = False
        self.views: Mapping[str, tuple[ScalingView, ...]] = {}

    async def gateway(self, gateway_id: str, models: Mapping[str, GatewayFigures]) -> None:
        """Send a gateway's figures, by model; this method is a `LoadSink`.

        Raises:
            ClusterError: the autoscaler is away.
        """
        if self.enabled:
            self.views = await self._call("gateway", gateway_id, time.monotonic(), models)

    async def replica(self, replica_id: str, model: str, pool: str, figures: ReplicaFigures) -> None:
        """Send the figures of a replica that takes requests.

        Raises:
            ClusterError: the autoscaler is away.
        """
        if self.enabled:
            await self._call("replica", replica_id, model, pool, figures)

    async def replica_left(self, replica_id: str, model: str, pool: str) -> None:
        """Say that a replica takes no more requests.

        If the autoscaler is away, this is not repeated: it forgets a replica that is silent.
        """
        if self.enabled:
            with suppress(ClusterError):
                await self._call("replica_left", replica_id, model, pool)

    async def _call(self, method: str, *args: object) -> Any:  # noqa: ANN401 - whatever that method returns
        return await asyncio.to_thread(self._actor.call_now, method, *args, timeout_s=CALL_TIMEOUT_S)


class ReplicaPush:
    """Sends a replica's figures until `leave`, each change within `PUSH_S`; used from one event loop.

    Where no model autoscales it only looks whether that has changed.

    Args:
        client: sends to the autoscaler.
        endpoint: the replica's endpoint.
        figures: returns the replica's current figures.
    """

    def __init__(self, client: ScalingClient, endpoint: Endpoint, figures: Callable[[], ReplicaFigures]) -> None:
        self._client = client
        self._of = (endpoint.replica_id, endpoint.model, endpoint.pool)
        self._figures = figures
        self._task = asyncio.get_running_loop().create_task(self._push(), name="figures for the autoscaler")

    async def leave(self) -> None:
        """Stop sending figures, and say that the replica takes no more requests."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._client.replica_left(*self._of)

    async def _push(self) -> None:
        loop = asyncio.get_running_loop()
        sent, sent_s = None, 0.0
        while True:
            if not self._client.enabled:
                await asyncio.sleep(UNCHANGED_S)
                continue
            figures = self._figures()
            if figures != sent or loop.time() - sent_s >= UNCHANGED_S:
                sent, sent_s = figures, loop.time()
                try:
                    await self._client.replica(*self._of, figures)
                except ClusterError:
                    sent = None  # the actor restarts, and gets the next report
            await asyncio.sleep(PUSH_S)
