"""Tells whoever scales the models what this gateway's load is, twice a second."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from cluster.autoscaling.figures import GatewayFigures
from cluster.errors import ClusterError

PUSH_EVERY_S: Final = 0.5
AT_LEAST_APART_S: Final = 0.1
"""A request that is held because its model has no replica is told of at once, but not more often than this."""

LoadSink = Callable[[str, Mapping[str, GatewayFigures]], Awaitable[None]]
"""Takes a gateway's id and its figures of each model; raises ClusterError where they cannot be delivered."""

_log = structlog.get_logger("rackserve.gateway")


class LoadPush:
    """Pushes loads until stopped; used from one event loop. A push waits for the one before it.

    Args:
        sink: where to.
        gateway_id: this gateway's.
        load: returns the figures of now, by model.
    """

    def __init__(self, sink: LoadSink, gateway_id: str, load: Callable[[], Mapping[str, GatewayFigures]]) -> None:
        self._sink = sink
        self._gateway_id = gateway_id
        self._load = load
        self._urgent = asyncio.Event()
        self._is_away = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="load push")

    def hurry(self) -> None:
        """Push soon: something has happened that cannot wait for the next turn."""
        self._urgent.set()

    async def stop(self) -> None:
        """Push no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._urgent.clear()
            try:
                await self._sink(self._gateway_id, self._load())
            except ClusterError as error:
                if not self._is_away:
                    _log.warning("the autoscaler cannot be told of the load", reason=str(error))
                self._is_away = True
            else:
                self._is_away = False
            await asyncio.sleep(AT_LEAST_APART_S)
            try:
                async with asyncio.timeout(PUSH_EVERY_S - AT_LEAST_APART_S):
                    await self._urgent.wait()
            except TimeoutError:
                continue
