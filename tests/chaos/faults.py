"""The kinds of faults, and the lanes that strike with them side by side."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

PAUSE_S: Final = (0.2, 0.8)
"""Seconds between two faults of a lane."""
SHORT_S: Final = (0.1, 0.8)
"""Shortest and longest time of what may come beside anything else: no answer is moved for it."""
BETWEEN_SILENCES_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was done.

    Attributes:
        kind: its name.
        what: what it was done to.
        began_s: when, seconds of the monotonic clock.
        ended_s: when all was well again.
    """

    kind: str
    what: str
    began_s: float
    ended_s: float


Strike = Callable[[Random], Awaitable[str]]
"""Does one fault and makes all well again; returns what it was done to."""


@dataclass
class Lanes:
    """Strikes lanes of faults side by side, each lane one after another.

    Of faults that silence something there is one at a time, and some time between two: an answer that has been moved
    off what is silent does not meet the next silence before it has gone on.

    Args:
        silencing: kinds that silence something for longer than `SHORT_S`.

    Attributes:
        done: every fault so far.
    """

    silencing: frozenset[str]
    done: list[Fault] = field(default_factory=list)
    _silence: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def strike(self, kinds: Mapping[str, Strike], rng: Random, is_over: Callable[[], bool]) -> None:
        """Strike with one kind after another until it is over; each kind comes as often as the others."""
        while True:
            order = sorted(kinds)
            rng.shuffle(order)
            for kind in order:
                if is_over():
                    return
                if kind in self.silencing:
                    async with self._silence:
                        await self._strike(kind, kinds[kind], rng)
                        await asyncio.sleep(BETWEEN_SILENCES_S)
                else:
                    await self._strike(kind, kinds[kind], rng)
                await asyncio.sleep(rng.uniform(*PAUSE_S))

    async def _strike(self, kind: str, strike: Strike, rng: Random) -> None:
        began_s = time.monotonic()
        what = await strike(rng)
        self.done.append(Fault(kind, what, began_s, time.monotonic()))
