"""The watch tells for how long the event loop stood still, and costs an idle gateway nothing."""

import asyncio
import time

from router.http.data_plane.loop_watch import BEAT_S, WINDOW_S, LoopWatch


class Clock:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_s(self) -> float:
        """Return the time."""
        return time.monotonic() + self.ahead_s


async def test_a_stop_within_a_tick_is_seen_while_someone_asks() -> None:
    """The stop is shorter than a tick, and told to within a beat."""
    watch = LoopWatch(Clock().now_s, 60.0)
    watch.tick(someone_asks=True)
    await asyncio.sleep(3 * BEAT_S)
    time.sleep(0.2)  # noqa: ASYNC251 - the stop
    await asyncio.sleep(2 * BEAT_S)
    assert watch.longest_s >= 0.2 - BEAT_S
    watch.stop()


async def test_a_late_tick_is_a_stop_and_is_forgotten_in_time() -> None:
    """While nobody asks, ticks alone tell; a stop is told for at least one window and at most two."""
    clock = Clock()
    watch = LoopWatch(clock.now_s, 0.25)
    watch.tick(someone_asks=False)
    clock.ahead_s += 2.25
    watch.tick(someone_asks=False)
    assert 1.9 <= watch.longest_s <= 2.5
    for _ in range(2):
        assert watch.longest_s >= 1.9
        clock.ahead_s += WINDOW_S + 1.0
        watch._tick_due_s = clock.now_s()
        watch.tick(someone_asks=False)
    assert watch.longest_s < 1.0


async def test_nobody_asks_nothing_beats() -> None:
    """An idle gateway has no timer but its own."""
    watch = LoopWatch(Clock().now_s, 0.25)
    watch.tick(someone_asks=True)
    assert watch._beats is not None
    watch.tick(someone_asks=False)
    assert watch._beats is None
