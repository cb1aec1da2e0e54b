"""A response that is made whether anybody waits for it or not."""

import asyncio
from collections.abc import AsyncIterator, Callable

from deployments.engines.sim.generation.core import Generation, SimCore
from deployments.engines.sim.responses.answer_format import ResponsesFormat


class BackgroundRun:
    """Generates one response and records its events.

    Args:
        core: the simulation.
        generation: what is generated.
        answer_format: words the events.
        on_end: called when the response has ended, however it did.
    """

    def __init__(
        self, core: SimCore, generation: Generation, answer_format: ResponsesFormat, on_end: Callable[[], None]
    ) -> None:
        self._core = core
        self._generation = generation
        self._format = answer_format
        self._on_end = on_end
        self._events: list[bytes] = []
        self._news = asyncio.Condition()
        self._is_over = False
        self._task = asyncio.ensure_future(self._run())

    @property
    def status(self) -> str:
        """The response's status until it has ended."""
        return "in_progress" if self._events else "queued"

    def cancel(self) -> None:
        """Stop generating."""
        self._core.abort(self._generation)

    async def follow(self, first: int) -> AsyncIterator[bytes]:
        """Yield the events from number `first` on, up to the last, as they come."""
        while True:
            for event in self._events[first:]:
                first += 1
                yield event
            async with self._news:
                if first < len(self._events):
                    continue
                if self._is_over:
                    return
                await self._news.wait()

    async def _run(self) -> None:
        generation = self._generation
        fresh = await generation.next()
        await self._record(self._format.opening(generation))
        while True:
            await self._record(b"".join([self._format.news(generation, answer) for answer in fresh]))
            if not generation.unfinished:
                break
            fresh = await generation.next()
        self._on_end()
        self._is_over = True
        await self._record(self._format.closing(generation) if self._core.alive else self._format.failure())

    async def _record(self, events: bytes) -> None:
        self._events += [event + b"\n\n" for event in events.split(b"\n\n") if event]
        async with self._news:
            self._news.notify_all()
