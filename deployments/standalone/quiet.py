"""Whether anybody asks a gateway anything: while nobody does, its polls rest."""

import asyncio
from collections.abc import Callable
from typing import Final

QUIET_S: Final = 10.0
"""Seconds without any request after which a gateway counts as one that nobody asks."""
LOOK_S: Final = 0.5
"""Seconds after which it is looked again whether somebody asks."""


class Quiet:
    """Tells whether a gateway is quiet, and ends the rest of those who wait meanwhile.

    One look each `LOOK_S` is all that an idle gateway does for it, however many rest.

    Args:
        asked: returns the number of requests so far.
        now_s: returns the time, monotonic seconds.
    """

    def __init__(self, asked: Callable[[], int], now_s: Callable[[], float]) -> None:
        self._asked = asked
        self._now_s = now_s
        self._count = 0
        self._since_s = now_s()
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def is_now(self) -> bool:
        """Whether nobody has asked anything for `QUIET_S`, as of the last look."""
        return not self._ended.is_set()

    async def watch(self) -> None:
        """Look from time to time whether somebody asks; run it for as long as the gateway runs."""
        while True:
            await asyncio.sleep(LOOK_S)
            now_s, count = self._now_s(), self._asked()
            if count != self._count:
                self._count, self._since_s = count, now_s
                self._ended.set()
            elif now_s - self._since_s >= QUIET_S:
                self._ended.clear()

    async def rest(self, most_s: float) -> bool:
        """Wait while nobody asks anything, at most `most_s` seconds; return whether somebody asks."""
        try:
            async with asyncio.timeout(most_s):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True
