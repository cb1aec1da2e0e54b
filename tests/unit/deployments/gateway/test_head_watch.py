"""While Ray's head is away a gateway says what cannot be done, and says it no more once the head is back."""

import asyncio
from collections.abc import Callable

from cluster.errors import ClusterError
from deployments.gateway.head_watch import HEAD_AWAY, MISSES, HeadWatch
from tests.machine_speed import slowness


class Shown:
    """What operators see."""

    def __init__(self) -> None:
        self.head_problem = ""


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0 * slowness()):
        while not holds():  # noqa: ASYNC110 - nothing is set
            await asyncio.sleep(0.005)


async def test_a_head_that_is_away_is_told_until_it_is_back() -> None:
    """One question without an answer is no absence; what the question raises ends nothing."""
    shown, asked, is_away = Shown(), [], True

    def ask() -> None:
        asked.append(shown.head_problem)
        if is_away:
            raise ClusterError("nobody answers")

    watch = HeadWatch(shown, ask, every_s=0.01)
    await _until(lambda: shown.head_problem == HEAD_AWAY)
    assert len(asked) >= MISSES
    assert asked[: MISSES - 1] == [""] * (MISSES - 1)
    is_away = False
    await _until(lambda: not shown.head_problem)
    await watch.stop()
