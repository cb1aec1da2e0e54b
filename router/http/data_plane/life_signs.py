"""Asks replicas whose answers have stopped whether they live, so that what runs on a hung one can go elsewhere.

A quiet answer may be a long prompt, so quiet alone says nothing. A replica that its telemetry shows alive is not asked.
Any other is asked for a page: whatever it answers, it lives. Time is counted in the gateway's ticks: a gateway that
was itself stopped for a while has not waited in that time.
"""

import asyncio
from typing import TYPE_CHECKING, Final

from router.http.data_plane.page_request import get_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.http.data_plane.replica_route import ReplicaRoute
    from router.http.wire.upstream.upstream import UpstreamPool

QUIET_TICKS: Final = 4
"""Ticks without a byte of an answer after which its replica is doubted: a second."""
PATIENCE_TICKS: Final = 10
"""Ticks without an answer to the question after which the replica counts as lost: 2.5 s, longer than a garbage
collection, and so short that a stream goes on elsewhere within 4 s of its last byte."""
ASKED_AGAIN_TICKS: Final = 4
"""Ticks after an answer before the replica is asked again."""
LOST_TICKS: Final = 8
"""Ticks for which a lost replica counts as lost; then it is asked anew if something still runs there."""
PAGE: Final = "/v1/models"
"""The page: every server has it, and it costs an engine nothing."""
MOST_BYTES: Final = 1 << 20


class Question:
    """One replica that is asked once.

    Args:
        route: the way to the replica.

    Attributes:
        is_answered: it gave a sign of life.
        ticks: ticks since it was asked; since its answer where it has answered.
    """

    def __init__(self, route: "ReplicaRoute") -> None:
        self.is_answered = False
        self.ticks = 0
        self._task = asyncio.get_running_loop().create_task(self._ask(route), name="sign of life")

    async def _ask(self, route: "ReplicaRoute") -> None:
        try:
            await get_page(route, PAGE, MOST_BYTES)
        except (ConnectionError, ValueError):
            pass  # its machine refuses, or it answers at length
        except (OSError, TimeoutError):
            return  # it cannot be reached
        self.is_answered = True
        self.ticks = 0

    @property
    def is_lost(self) -> bool:
        """Whether it has not answered in time."""
        return not self.is_answered and self.ticks >= PATIENCE_TICKS

    @property
    def is_over(self) -> bool:
        """Whether the next doubt is a new question."""
        return self.ticks >= (ASKED_AGAIN_TICKS if self.is_answered else PATIENCE_TICKS + LOST_TICKS)

    def end(self) -> None:
        """Wait for its answer no longer."""
        self._task.cancel()


class LifeSigns:
    """The replicas that are being asked; one question for each, however many answers have stopped."""

    def __init__(self) -> None:
        self._questions: dict[UpstreamPool, Question] = {}

    def is_lost(self, pool: "UpstreamPool", route_over: "Callable[[UpstreamPool], ReplicaRoute]") -> bool:
        """Tell whether a replica that is doubted gives no sign of life; ask it, if it is not being asked.

        Args:
            pool: the connections to it.
            route_over: makes a route over these.
        """
        question = self._questions.get(pool)
        if question is None:
            self._questions[pool] = Question(route_over(pool))
            return False
        return question.is_lost

    def tick(self) -> None:
        """Let a tick pass."""
        for pool, question in list(self._questions.items()):
            question.ticks += 1
            if question.is_over:
                question.end()
                del self._questions[pool]

    def close(self) -> None:
        """Ask no more."""
        for question in self._questions.values():
            question.end()
        self._questions.clear()
