"""How long the measuring process itself stood still, as on a machine that is busy with others' work."""

import asyncio
import time
from typing import Final

TICK_S: Final = 0.02
LATE_S: Final = 0.2
"""Lateness of a tick above which it counts as standing still."""


class OwnPulse:
    """Ticks on the running loop until it is stopped.

    Attributes:
        longest_s: the longest time that the process stood still.
    """

    def __init__(self) -> None:
        self._still_s = 0.0
        self._last_s = time.monotonic()
        self.longest_s = 0.0
        self._task = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        """Tick no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def still_s(self) -> float:
        """Return the seconds of standing still since the beginning, the present ones included."""
        return self._still_s + self._late_s()

    def _late_s(self) -> float:
        late_s = time.monotonic() - self._last_s - TICK_S
        return late_s if late_s > LATE_S else 0.0

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            late_s = self._late_s()
            self._still_s += late_s
            self.longest_s = max(self.longest_s, late_s)
            self._last_s = time.monotonic()
