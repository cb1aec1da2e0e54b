"""The mock engine's step loop: which stream is written its next chunk, and when."""

import asyncio
from typing import Protocol

from tests.benchmarks.gateway_load.engine_answers import StreamAnswer


class StreamTaker(Protocol):
    """A connection that a stream is written to; `paused` while it takes no more."""

    transport: asyncio.Transport
    paused: bool


Stream = tuple[StreamAnswer, bytes, int, int]
"""The answer, its request's tag, the next event's index, and the prompt's tokens if usage is told (else 0)."""


class Steps:
    """Writes one chunk to each running stream every `step_ms`.

    vLLM's API process builds and writes the chunks of one step one after another, some 100 microseconds each, so they
    leave spread over the step. Here the step is cut in slots of a millisecond (uvloop's timer resolution) and every
    stream has its slot. With `burst` all chunks of a step are written back to back instead.

    Args:
        loop: the running loop.
        step_ms: time between two chunks of a stream; 0: one chunk to each stream every turn of the loop.
        burst: one slot for all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, step_ms: int, *, burst: bool) -> None:
        self._loop = loop
        slots = 1 if burst or not step_ms else step_ms
        self._slot_s = step_ms / 1000 / slots
        self._slots: list[dict[StreamTaker, Stream]] = [{} for _ in range(slots)]
        self._turn = 0
        self._next_at = 0.0
        self._ticking = False

    def start(self, taker: StreamTaker, answer: StreamAnswer, tag: bytes, told_prompt_tokens: int = 0) -> None:
        """Begin a stream; its first chunk comes within a step.

        Args:
            taker: where it is written to.
            answer: what is written.
            tag: the request's tag.
            told_prompt_tokens: the prompt's tokens, if the usage is to be told with every event.
        """
        min(self._slots, key=len)[taker] = (answer, tag, 0, told_prompt_tokens)
        if not self._ticking:
            self._ticking = True
            self._next_at = self._loop.time() + self._slot_s
            self._loop.call_at(self._next_at, self._tick)

    def drop(self, taker: StreamTaker) -> None:
        """Forget a stream whose connection is gone."""
        for slot in self._slots:
            slot.pop(taker, None)

    def _tick(self) -> None:
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % len(self._slots)
        ended = []
        for taker, (answer, tag, index, told) in slot.items():
            if taker.paused:
                continue
            taker.transport.write(answer.told_chunk(index, tag, told) if told else answer.chunk(index, tag))
            if index + 1 == answer.chunks:
                ended.append(taker)
            else:
                slot[taker] = (answer, tag, index + 1, told)
        for taker in ended:
            del slot[taker]
        self._ticking = any(self._slots)
        if self._ticking and not self._slot_s:
            self._loop.call_soon(self._tick)
        elif self._ticking:
            self._next_at = max(self._next_at + self._slot_s, self._loop.time())
            self._loop.call_at(self._next_at, self._tick)
