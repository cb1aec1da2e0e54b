"""Watches the client itself: how late its event loop is, and how much of a core it takes.

A client that is late adds its own lateness to every time that it measures. So it is measured, and told.
"""

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

_TICK_S: Final = 0.01
LATE_S: Final = 0.005
"""Lateness of the loop in its 99th percentile, in seconds, above which a run is warned of."""
BUSY: Final = 0.8
"""Share of a core above which it is warned of."""


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """What the client did to itself.

    Attributes:
        cpu_share: CPU time of this process over the time of the run.
        lag_p50_s: how late its loop was, in the median.
        lag_p99_s: the same in the 99th percentile.
        lag_max_s: the same at worst.
    """

    cpu_share: float
    lag_p50_s: float
    lag_p99_s: float
    lag_max_s: float

    def warnings(self, ttft_s: float, tpot_s: float) -> list[str]:
        """Return what to know of the figures; empty: nothing.

        Args:
            ttft_s: median time to the first token, in seconds.
            tpot_s: median time of a token, in seconds.
        """
        found = []
        if self.lag_p99_s > LATE_S:
            shares = [
                f"{self.lag_p99_s / each:.0%} of {name}" for name, each in (("TTFT", ttft_s), ("TPOT", tpot_s)) if each
            ]
            found.append(
                f"the client's event loop was {self.lag_p99_s * 1e3:.1f} ms late in 1 % of its looks "
                f"({' and '.join(shares)} in the median): times are too long by up to that. Load less, or from a "
                "machine that has nothing else to do."
            )
        if self.cpu_share > BUSY:
            found.append(
                f"the client took {self.cpu_share:.0%} of a core: the load may be less than what was asked for"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


class ClientWatch:
    """Watches the running event loop from `start` to `stop`."""

    def __init__(self) -> None:
        self._lags_s: list[float] = []
        self._task: asyncio.Task[None] | None = None
        self._began_s = self._began_cpu_s = 0.0

    def start(self) -> None:
        """Begin."""
        self._began_s, self._began_cpu_s = time.perf_counter(), time.process_time()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            due_s = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._lags_s.append(max(0.0, time.perf_counter() - due_s))

    def stop(self) -> ClientLoad:
        """End, and return what was seen."""
        if self._task is not None:
            self._task.cancel()
        wall_s = max(1e-9, time.perf_counter() - self._began_s)
        cpu_share = (time.process_time() - self._began_cpu_s) / wall_s
        p50, p99, most = np.quantile(self._lags_s or [0.0], (0.5, 0.99, 1.0))
        return ClientLoad(cpu_share, float(p50), float(p99), float(most))
