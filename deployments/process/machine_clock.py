"""The machine's clock, for the pure cores, which take the time as an argument."""

import time


class MachineClock:
    """Monotonic time; implements `cluster.clock.Clock`."""

    def now_s(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()
