"""The machine's clock, for the pure cores that are told the time."""

import time


class MachineClock:
    """Monotonic time, as `cluster.clock.Clock` wants it."""

    def now_s(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()
