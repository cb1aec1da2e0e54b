"""Calls of actors never hold up the event loop, whatever Ray does."""

import asyncio
import threading
import time

import pytest

from cluster.errors import ClusterError
from deployments.ray_api.actors import ActorRef
from tests.machine_speed import slowness


async def _longest_stop_s(stop: asyncio.Event) -> float:
    longest_s = 0.0
    while not stop.is_set():
        began_s = time.monotonic()
        await asyncio.sleep(0.01)
        longest_s = max(longest_s, time.monotonic() - began_s)
    return longest_s


async def test_a_look_up_that_blocks_holds_up_nobody_and_is_made_once() -> None:
    """While Ray's head is away a look-up may block for a minute: the loop goes on, and repeated calls share it."""
    may_end, looks = threading.Event(), []

    def look_up() -> object:
        looks.append(threading.current_thread())
        may_end.wait(30)
        raise ValueError("there is no actor of that name")

    actor, done = ActorRef("directory", look_up), asyncio.Event()
    watching = asyncio.ensure_future(_longest_stop_s(done))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await actor.call("watch")
    last = asyncio.ensure_future(actor.call("watch"))
    await asyncio.sleep(0.05)
    done.set()
    assert await watching < 0.25 * slowness()
    assert len(looks) == 1
    assert looks[0] is not threading.main_thread()
    assert looks[0].daemon  # it must not keep the process from ending
    may_end.set()
    with pytest.raises(ClusterError, match="no actor of that name"):
        await last
    with pytest.raises(ClusterError):
        await actor.call("watch")
    assert len(looks) == 2
