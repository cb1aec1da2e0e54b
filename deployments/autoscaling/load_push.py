"""Pushes a gateway's load to the autoscaler, twice a second."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from cluster.autoscaling.metrics.figures import GatewayFigures
from cluster.errors import ClusterError

PUSH_EVERY_S: Final = 0.5
"""Seconds between two pushes, unless `hurry` asks for one sooner."""
AT_LEAST_APART_S: Final = 0.1
"""Least seconds between two pushes, also after `hurry`."""

LoadSink = Callable[[str, Mapping[str, GatewayFigures]], Awaitable[None]]
"""Takes a gateway's id and its figures, by model; raises ClusterError if they cannot be delivered."""

_log = structlog.get_logger("rackserve.gateway")


class LoadPush:
    """Pushes a gateway's figures until `stop`, one push at a time; used from one event loop.

    Args:
        sink: takes the figures.
        gateway_id: the gateway's id.
        load: returns the current figures, by model.
    """

    def __init__(self, sink: LoadSink, gateway_id: str, load: Callable[[], Mapping[str, GatewayFigures]]) -> None:
        self._sink = sink
        self._gateway_id = gateway_id
        self._load = load
        self._urgent = asyncio.Event()
        self._is_away = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="load push")

    def hurry(self) -> None:
        """Push again within `AT_LEAST_APART_S`, for example when a request is held for lack of a replica."""
        self._urgent.set()

    async def stop(self) -> None:
        """Stop pushing."""
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
