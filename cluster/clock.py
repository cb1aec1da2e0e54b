"""Time as a parameter: pure code gets the time from its caller or from a `Clock`, and never reads the machine's."""

from typing import Protocol


class Clock(Protocol):
    """A source of monotonic time.

    The shell passes one that reads the machine's clock; tests and the simulator pass a `VirtualClock`.
    """

    def now_s(self) -> float:
        """Return monotonic seconds; only differences between two readings have a meaning."""
        ...


class VirtualClock:
    """A clock that stands still until it is moved, so that a run can be replayed.

    Args:
        start_s: the time it shows at first, seconds.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Return the time this clock was last moved to, seconds."""
        return self._now_s

    def advance(self, delta_s: float) -> None:
        """Move forward by `delta_s` seconds.

        Raises:
            ValueError: `delta_s` is below 0.
        """
        if delta_s < 0:
            raise ValueError(f"a clock cannot go back by {-delta_s} s")
        self._now_s += delta_s
