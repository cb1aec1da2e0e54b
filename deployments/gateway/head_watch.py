"""Notices that Ray's head is away, and tells operators what cannot be done meanwhile. Requests are not affected."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from cluster.errors import ClusterError

ASK_EVERY_S: Final = 5.0
"""Seconds between two questions to the head."""
MISSES: Final = 2
"""Questions in a row without an answer after which the head counts as away."""
HEAD_AWAY: Final = (
    "Ray's head does not answer: requests are served as before, but no replica is started, replaced or scaled until it "
    "is back"
)

_log = structlog.get_logger("rackserve.gateway")


class ShowsProblem(Protocol):
    """The part of a gateway that tells operators of the head.

    Attributes:
        head_problem: what cannot be done while Ray's head is away; "": it is there.
    """

    head_problem: str


class HeadWatch:
    """Asks Ray's head every few seconds, in a thread, whether it is there.

    Args:
        gateway: tells operators.
        ask: asks the head; raises ClusterError if it does not answer within some seconds.
        every_s: seconds between two questions.
    """

    def __init__(self, gateway: ShowsProblem, ask: Callable[[], None], every_s: float = ASK_EVERY_S) -> None:
        self._gateway = gateway
        self._ask = ask
        self._every_s = every_s
        self._misses = 0
        self._task = asyncio.get_running_loop().create_task(self._keep_asking(), name="head watch")

    async def stop(self) -> None:
        """Ask no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await asyncio.to_thread(self._ask)
            except ClusterError as error:
                self._misses += 1
                if self._misses == MISSES:
                    _log.warning("Ray's head is away; requests go on", reason=str(error))
                    self._gateway.head_problem = HEAD_AWAY
            else:
                if self._gateway.head_problem:
                    _log.info("Ray's head is back")
                self._misses, self._gateway.head_problem = 0, ""
