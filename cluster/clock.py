"""Time as a parameter: the pure cores are told the time and never read it."""

from typing import Protocol


class Clock(Protocol):
    """A source of monotonic time.

    The shell passes one that reads the machine's clock; tests and the simulator pass a `VirtualClock`.
    """

    def now_s(self) -> float:
        """Return monotonic seconds; only differences mean anything."""
        ...


class VirtualClock:
    """A clock that stands still until it is moved: makes a run replayable."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """Return the seconds this clock was last moved to."""
        return self._now_s

    def advance(self, delta_s: float) -> None:
        """Move forward by `delta_s` seconds.

        Raises:
            ValueError: time would run backwards.
        """
        if delta_s < 0:
            raise ValueError(f"a clock cannot go back by {-delta_s} s")
        self._now_s += delta_s
