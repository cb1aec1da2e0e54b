"""Runs one request and sends its answers, as a stream of events or whole, in the form of the API that was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from deployments.engines.sim.api.errors import engine_died
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.generation.answer import Answer
from deployments.engines.sim.generation.core import Generation, SimCore


class AnswerFormat(Protocol):
    """How an API words the answers to one request; each part of a stream is whole server-sent events."""

    def opening(self, generation: Generation) -> bytes:
        """Return the events with which a stream begins."""
        ...

    def news(self, generation: Generation, answer: Answer) -> bytes:
        """Return the events with what an answer has new."""
        ...

    def closing(self, generation: Generation) -> bytes:
        """Return the events with which a stream ends."""
        ...

    def failure(self) -> bytes:
        """Return the events with which a stream ends when the engine has died."""
        ...

    def whole(self, generation: Generation) -> bytes:
        """Return the response that is not streamed, as JSON."""
        ...


async def serve(  # noqa: PLR0913 - one request's parts
    exchange: SimExchange,
    core: SimCore,
    generation: Generation,
    answer_format: AnswerFormat,
    *,
    stream: bool,
    on_end: Callable[[], None] | None = None,
) -> None:
    """Send the answers of a request as they are generated; abort it when the client leaves.

    Args:
        exchange: the request.
        core: the simulation.
        generation: what is generated.
        answer_format: words it.
        stream: send events, not a whole response.
        on_end: called when all answers have ended by themselves, before the client learns that.

    Raises:
        RequestError: the engine died before anything was sent.
    """
    async with aborted_if_left(exchange, core, generation):
        if stream:
            await _stream(exchange, core, generation, answer_format, on_end)
            return
        await finished(core, generation)
        if on_end is not None:
            on_end()
        await exchange.respond(answer_format.whole(generation))


@asynccontextmanager
async def aborted_if_left(exchange: SimExchange, core: SimCore, generation: Generation) -> AsyncIterator[None]:
    """Abort a request when its client leaves, or the block is left before its answers have ended."""
    watch = asyncio.ensure_future(exchange.client_gone())
    watch.add_done_callback(lambda _: core.abort(generation))
    try:
        yield
    finally:
        watch.cancel()
        core.abort(generation)


async def finished(core: SimCore, generation: Generation) -> None:
    """Wait until all answers have ended.

    Raises:
        RequestError: the engine died.
    """
    while generation.unfinished:
        await generation.next()
    if not core.alive:
        raise engine_died()


async def _stream(
    exchange: SimExchange,
    core: SimCore,
    generation: Generation,
    answer_format: AnswerFormat,
    on_end: Callable[[], None] | None,
) -> None:
    fresh = await generation.next()
    await exchange.begin_events()
    pieces = [answer_format.opening(generation)]
    while True:
        pieces += [answer_format.news(generation, answer) for answer in fresh]
        if not generation.unfinished:
            break
        await exchange.send_events(b"".join(pieces), more=True)
        fresh = await generation.next()
        pieces = []
    if on_end is not None and core.alive:
        on_end()
    pieces.append(answer_format.closing(generation) if core.alive else answer_format.failure())
    await exchange.send_events(b"".join(pieces), more=False)
