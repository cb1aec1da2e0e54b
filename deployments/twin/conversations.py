"""Conversations of a load: how long their requests are, and when each begins; of `simulate` and of `bench` alike."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, repeat
from random import Random
from typing import NamedTuple

from deployments.twin.arrivals import RequestMaker, begin_times
from deployments.twin.scenario_file import StreamSpec


class Turn(NamedTuple):
    """One request of a conversation.

    Attributes:
        prompt_tokens: tokens of the message that is new in it.
        output_tokens: tokens of its answer.
        pause_s: seconds between the answer before and this request.
    """

    prompt_tokens: int
    output_tokens: int
    pause_s: float


class Conversation(NamedTuple):
    """One conversation.

    Attributes:
        begins_s: when it begins, seconds from the start; without effect where the stream bounds how many are under way.
        beginning: number of the beginning that it shares with others; below 0: it shares none.
        turns: its requests, one or more.
    """

    begins_s: float
    beginning: int
    turns: tuple[Turn, ...]


def conversations(spec: StreamSpec, rng: Random) -> Iterator[Conversation]:
    """Yield a stream's conversations in the order in which they begin; how many is for the caller to bound.

    A stream of single requests has conversations of one turn.
    """
    maker = RequestMaker(spec, rng)
    beginnings = Beginnings(spec.prefixes, rng)
    for at_s in begins(spec, rng, spec.turns):
        beginning = beginnings.draw()
        turns = [Turn(*maker.added(), 0.0)]
        while rng.random() < 1.0 - 1.0 / spec.turns:
            pause_s = rng.expovariate(1.0 / spec.think_s)
            turns.append(Turn(*maker.added(), pause_s))
        yield Conversation(at_s, beginning, tuple(turns))


def begins(spec: StreamSpec, rng: Random, requests: float) -> Iterator[float]:
    """Yield when conversations begin; the stream's number of requests does not bound them.

    Args:
        spec: the stream.
        rng: draws the times.
        requests: mean requests of a conversation.
    """
    if spec.at_a_time:
        return repeat(spec.begin_s)
    return begin_times(spec, rng, requests)


class Beginnings:
    """Draws which of some shared beginnings a conversation has: the n-th 1/n as often as the first.

    Args:
        count: how many there are.
        rng: draws.
    """

    def __init__(self, count: int, rng: Random) -> None:
        self._rng = rng
        self._popularity = list(accumulate(1.0 / (rank + 1) for rank in range(count)))

    def draw(self) -> int:
        """Return the next one's number; below 0: there are none."""
        if not self._popularity:
            return -1
        return bisect_left(self._popularity, self._rng.random() * self._popularity[-1])
