"""The machine's clock, for the pure cores, which take the time as an argument."""

import time


class MachineClock:
    """Monotonic time; implements `cluster.clock.Clock`."""

    now_s = staticmethod(time.monotonic)
    """Returns the monotonic time in seconds; C's own function, as the path of a request asks for it several times."""
