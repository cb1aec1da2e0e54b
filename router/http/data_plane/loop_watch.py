"""Measures for how long the event loop stood still: in that time no request's bytes moved."""

import asyncio
from collections.abc import Callable
from typing import Final

BEAT_S: Final = 0.02
"""Seconds between two looks at the clock while clients ask; a shorter stop may go unseen."""
WINDOW_S: Final = 30.0
"""Seconds for which a longest stop is kept apart. So one is told for 30 to 60 s, longer than between two scrapes."""


class LoopWatch:
    """Watches the running loop. While nobody asks it only looks when `tick` is called, so an idle gateway stays idle.

    Args:
        now_s: returns the time, monotonic seconds.
        tick_s: seconds between two calls of `tick`.
    """

    def __init__(self, now_s: Callable[[], float], tick_s: float) -> None:
        self._now_s = now_s
        self._tick_s = tick_s
        self._beats: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._tick_due_s = 0.0
        self._window_ends_s = 0.0
        self._now_longest_s = self._longest_before_s = 0.0

    @property
    def longest_s(self) -> float:
        """The longest stop of the last 30 to 60 s, seconds."""
        return max(self._now_longest_s, self._longest_before_s)

    def tick(self, *, someone_asks: bool) -> None:
        """Note that a tick has come, late or not; look more often as long as someone asks."""
        now_s = self._now_s()
        if self._tick_due_s:
            self._note(now_s - self._tick_due_s)
        self._tick_due_s = now_s + self._tick_s
        if now_s >= self._window_ends_s:
            self._window_ends_s = now_s + WINDOW_S
            self._longest_before_s, self._now_longest_s = self._now_longest_s, 0.0
        if someone_asks and self._beats is None:
            self._next_beat(now_s)
        elif not someone_asks:
            self.stop()

    def stop(self) -> None:
        """Look no more."""
        if self._beats is not None:
            self._beats.cancel()
            self._beats = None

    def _next_beat(self, now_s: float) -> None:
        self._due_s = now_s + BEAT_S
        self._beats = asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def _beat(self) -> None:
        now_s = self._now_s()
        self._note(now_s - self._due_s)
        self._next_beat(now_s)

    def _note(self, late_s: float) -> None:
        self._now_longest_s = max(self._now_longest_s, late_s)
