"""The requests of all streams of a load; those that follow an answer are made when it has come.

Clients that hold a conversation, and those of a closed loop, send nothing until they are answered, so when their
requests come is an outcome of the run. The first request of each is among the arrivals; the others are what
`Arrival.follows` returns.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from heapq import merge
from operator import attrgetter
from random import Random
from typing import Final

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.twin.arrivals import Arrival, RequestMaker, stream_requests
from deployments.twin.conversations import Turn, conversations
from deployments.twin.scenario_file import StreamSpec
from router.flow_control.priority import priority_named

REFUSED_S: Final = 0.01
"""Seconds from a refused request to the next one of its place, about what a refusal takes on a network. Without them a
closed loop whose requests are all refused would never come to its end."""


def streams(load: Sequence[StreamSpec], seed: int, block_tokens: int = BLOCK_TOKENS) -> Iterator[Arrival]:
    """Yield the requests of all streams in the order of their times; each stream has a generator of its own.

    Args:
        load: the streams.
        seed: seed of all chance.
        block_tokens: tokens of a block.
    """
    drawn = [_requests(spec, f"{seed} {number}", block_tokens) for number, spec in enumerate(load)]
    return drawn[0] if len(drawn) == 1 else merge(*drawn, key=attrgetter("at_s"))


def _requests(spec: StreamSpec, seed: str, block_tokens: int) -> Iterator[Arrival]:
    if spec.turns > 1.0 or spec.at_a_time:
        return _Clients(spec, seed, block_tokens).arrivals()
    return stream_requests(spec, Random(seed), block_tokens)  # noqa: S311 - replayable


class _Talk:
    """One conversation under way.

    Args:
        begins_s: when it begins.
        turns: its requests.
        context: tokens of the beginning that it shares.
        blocks: hashes of the blocks that it begins with.
        tenant: name of its tenant.
    """

    __slots__ = ("begins_s", "blocks", "context", "place", "tenant", "turns")

    def __init__(self, begins_s: float, turns: Sequence[Turn], context: int, blocks: list[int], tenant: str) -> None:
        self.begins_s, self.turns, self.context, self.blocks, self.tenant = begins_s, turns, context, blocks, tenant
        self.place = 0


class _Clients:
    """The clients of one stream.

    Args:
        spec: the stream.
        seed: seed of its lengths and times, which are those of `rackserve bench` with the same seed.
        block_tokens: tokens of a block.
    """

    def __init__(self, spec: StreamSpec, seed: str, block_tokens: int) -> None:
        self._spec, self._block_tokens = spec, block_tokens
        self._rng = Random(f"blocks {seed}")  # noqa: S311 - replayable; `bench` has no blocks to draw
        rng = Random(seed)  # noqa: S311 - replayable
        self._talks = self._chats(rng) if spec.turns > 1.0 else self._singles(rng)
        self._planned = 0
        self._priority = priority_named(spec.priority) if spec.priority is not None else None

    def arrivals(self) -> Iterator[Arrival]:
        """Yield the first request of each conversation whose time does not depend on answers."""
        if not self._spec.at_a_time:
            while (talk := self._next()) is not None:
                yield self._request(talk, talk.begins_s)
            return
        for _ in range(self._spec.at_a_time):
            if (talk := self._next()) is None:
                return
            yield self._request(talk, self._spec.begin_s)

    def _next(self) -> _Talk | None:
        """Return the next conversation; None: enough requests are planned."""
        if self._spec.requests and self._planned >= self._spec.requests:
            return None
        talk = next(self._talks, None)
        self._planned += len(talk.turns) if talk is not None else 0
        return talk

    def _request(self, talk: _Talk, at_s: float) -> Arrival:
        """Return a conversation's next request."""
        spec, size, turn = self._spec, self._block_tokens, talk.turns[talk.place]
        talk.place += 1
        prompt = talk.context + turn.prompt_tokens
        talk.context = prompt + turn.output_tokens
        goes_on = talk.place < len(talk.turns)
        full = prompt // size
        # The last token of an answer is not computed: nothing attends to it.
        known = (talk.context - 1) // size if goes_on else full
        talk.blocks.extend(self._block() for _ in range(known - len(talk.blocks)))
        return Arrival(
            at_s, spec.model, prompt, turn.output_tokens, talk.blocks[:full], talk.tenant, self._priority,
            talk.blocks[full:known], partial(self._after, talk),
        )  # fmt: skip

    def _after(self, talk: _Talk, ended_s: float, is_answered: bool) -> Arrival | None:  # noqa: FBT001 - `follows`
        """Return the request that follows one that has ended."""
        spec = self._spec
        if is_answered and talk.place < len(talk.turns):
            return self._request(talk, ended_s + talk.turns[talk.place].pause_s)
        is_over = not spec.requests and ended_s >= spec.begin_s + spec.seconds
        follower = self._next() if spec.at_a_time and not is_over else None
        if follower is None:
            return None
        return self._request(follower, ended_s if is_answered else ended_s + REFUSED_S)

    def _singles(self, rng: Random) -> Iterator[_Talk]:
        maker = RequestMaker(self._spec, rng, self._block_tokens)
        while True:
            made = maker.first(0.0)
            turn = Turn(made.prompt_tokens, made.output_tokens, 0.0)
            yield _Talk(0.0, (turn,), 0, made.blocks, made.tenant)

    def _chats(self, rng: Random) -> Iterator[_Talk]:
        spec = self._spec
        maker = RequestMaker(spec, self._rng, self._block_tokens)
        shared = [
            [self._block() for _ in range(spec.prefix_tokens // self._block_tokens)] for _ in range(spec.prefixes)
        ]
        for begins_s, beginning, turns in conversations(spec, rng):
            has_one = beginning >= 0
            blocks = list(shared[beginning]) if has_one else []
            yield _Talk(begins_s, turns, spec.prefix_tokens if has_one else 0, blocks, maker.tenant())

    def _block(self) -> int:
        return self._rng.getrandbits(63) | 1
