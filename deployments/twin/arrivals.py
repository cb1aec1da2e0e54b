"""The single requests of a simulated load, one after the other: of a scenario's streams, or of a recorded trace."""

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import accumulate
from math import cos, pi
from random import Random
from typing import Final, NamedTuple

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.loads import DAY_S
from deployments.simulator.trace import TraceRequest, chunk_chain
from deployments.twin.scenario_file import StreamSpec
from router.flow_control.priority import Priority, priority_named

ANYBODY: Final = "anonymous"
"""Name of the tenant of a cluster without tenants, as in `router/http/access_control/auth.py`."""
_SWING: Final = 0.6
"""How far a `day` rises and falls, as a share of its mean."""
_BURST: Final = (2.0, 5.0)
_BURST_PARTS: Final = (1 / 15, 4 / 15)
"""How long a burst is, as parts of the mean time between two: 1 to 4 minutes of 15."""


class Arrival(NamedTuple):
    """One request.

    Attributes:
        at_s: when it comes, seconds from the start.
        model: the model it asks for, or an adapter; "": the first of the file.
        prompt_tokens: tokens of its prompt, 1 or more.
        output_tokens: tokens of its answer, 1 or more.
        blocks: hashes of its prompt's full blocks; equal ones stand for equal prefixes.
        tenant: name of its tenant.
        priority: its class; None: its tenant's.
        answer_blocks: hashes of the full blocks that its answer fills after those; empty: nobody asks for them again.
        follows: given when it has ended and whether it was answered, returns the request that its client sends next;
            None: none.
    """

    at_s: float
    model: str
    prompt_tokens: int
    output_tokens: int
    blocks: list[int]
    tenant: str = ANYBODY
    priority: Priority | None = None
    answer_blocks: Sequence[int] = ()
    follows: "Callable[[float, bool], Arrival | None] | None" = None


def expected(load: Iterable[StreamSpec]) -> int:
    """Return about how many requests the streams bring, for a progress bar."""
    return sum(spec.requests or max(1, round(spec.rate * spec.seconds)) for spec in load)


def recorded(
    trace: Iterable[TraceRequest],
    seed: int,
    speedup: float = 1.0,
    tenants: Sequence[str] = (),
    models: Container[str] = (),
) -> Iterator[Arrival]:
    """Yield a trace's requests.

    Args:
        trace: the requests, in the order of their times.
        seed: mixed into the hashes.
        speedup: factor by which it is played faster.
        tenants: names of the tenants that its numbers stand for, in the cluster file's order.
        models: models and adapters that are served; a request for another one is for the cluster file's first.
    """
    for request in trace:
        full = request.input_length // BLOCK_TOKENS
        yield Arrival(
            request.timestamp / 1000.0 / speedup,
            request.model if request.model in models else "",
            request.input_length,
            max(1, request.output_length),
            chunk_chain(request, seed).hashes[:full],
            _tenant(request.tenant, tenants),
        )


def _tenant(number: int, tenants: Sequence[str]) -> str:
    """Return the tenant that a trace's number stands for: 0 for none, or the place among the cluster file's."""
    if not number:
        return ANYBODY
    return tenants[number - 1] if number <= len(tenants) else f"tenant-{number}"


def stream_requests(spec: StreamSpec, rng: Random, block_tokens: int = BLOCK_TOKENS) -> Iterator[Arrival]:
    """Yield the single requests of a stream in the order of their times."""
    make = RequestMaker(spec, rng, block_tokens)
    for at_s in begin_times(spec, rng):
        yield make.first(at_s)


def begin_times(spec: StreamSpec, rng: Random, each: float | None = None) -> Iterator[float]:
    """Yield the times at which requests, or conversations, begin, in seconds.

    Args:
        spec: the stream.
        rng: draws them.
        each: mean requests of a conversation, whose number the caller bounds; None: single requests.
    """
    rate = spec.rate / (each or 1.0)
    most = spec.requests if spec.requests and each is None else 1 << 60
    if spec.shape == "offline":
        yield from (spec.begin_s for _ in range(spec.requests))
        return
    end_s = spec.begin_s + spec.seconds if not spec.requests else float("inf")
    factor, top = _curve(spec, rng)
    at_s, sent = spec.begin_s, 0
    while sent < most:
        at_s += 1.0 / rate if spec.shape == "even" else rng.expovariate(rate * top)
        if at_s >= end_s:
            return
        if factor is None or rng.random() * top < factor(at_s):
            sent += 1
            yield at_s


def _curve(spec: StreamSpec, rng: Random) -> tuple[Callable[[float], float] | None, float]:
    """Return the rate over time as a multiple of its mean, and a bound of that; None: it is steady."""
    if spec.shape == "day":
        return lambda at_s: 1.0 - _SWING * cos(2 * pi * at_s / DAY_S), 1.0 + _SWING
    if spec.shape != "bursts":
        return None, 1.0
    between_s = spec.burst_every_s
    lengths_s = [part * between_s for part in _BURST_PARTS]
    share = sum(lengths_s) / 2 / (sum(lengths_s) / 2 + between_s)
    low = 1.0 / (1.0 - share + share * sum(_BURST) / 2)
    ends: list[float] = []
    factors: list[float] = []

    def factor(at_s: float) -> float:
        while not ends or ends[-1] <= at_s:
            before = ends[-1] if ends else spec.begin_s
            ends.append(before + rng.expovariate(1.0 / between_s))
            ends.append(ends[-1] + rng.uniform(*lengths_s))
            factors.extend((low, low * rng.uniform(*_BURST)))
        return factors[bisect_left(ends, at_s)]

    return factor, low * _BURST[1]


class RequestMaker:
    """Draws a stream's requests.

    Args:
        spec: the stream.
        rng: draws everything.
        block_tokens: tokens of a block.
    """

    def __init__(self, spec: StreamSpec, rng: Random, block_tokens: int = BLOCK_TOKENS) -> None:
        self._spec, self._rng, self._block_tokens = spec, rng, block_tokens
        self._prompt = spec.prompt_tokens, spec.spread
        self._output = spec.output_tokens, spec.spread if spec.output_spread is None else spec.output_spread
        self._prefix_blocks = spec.prefix_tokens // block_tokens if spec.prefixes else 0
        self._prefixes: dict[int, list[int]] = {}
        self._popularity = list(accumulate(1.0 / (rank + 1) for rank in range(spec.prefixes)))
        self._tenants = list(spec.tenants)
        self._shares = list(accumulate(spec.tenants.values()))
        self._priority = priority_named(spec.priority) if spec.priority is not None else None

    def first(self, at_s: float) -> Arrival:
        """Return a single request."""
        prompt = self._length(*self._prompt)
        blocks: list[int] = []
        if self._prefix_blocks:
            blocks = list(self._prefix())
            prompt = max(prompt, (len(blocks) + 1) * self._block_tokens)
        return self._request(at_s, prompt, blocks, self.tenant())

    def added(self) -> tuple[int, int]:
        """Return the tokens of one more message of a conversation, and of its answer."""
        return self._length(*self._prompt), self._length(*self._output)

    def _request(self, at_s: float, prompt: int, blocks: list[int], tenant: str) -> Arrival:
        draw = self._rng.getrandbits
        blocks.extend(draw(63) | 1 for _ in range(prompt // self._block_tokens - len(blocks)))
        return Arrival(at_s, self._spec.model, prompt, self._length(*self._output), blocks, tenant, self._priority)

    def _length(self, mean: int, spread: float) -> int:
        if not spread:
            return min(self._spec.most_tokens, mean)
        # The mean of a log-normal is exp(mu + sigma² / 2).
        drawn = mean * self._rng.lognormvariate(-(spread**2) / 2, spread)
        return max(1, min(self._spec.most_tokens, round(drawn)))

    def _prefix(self) -> list[int]:
        rank = bisect_left(self._popularity, self._rng.random() * self._popularity[-1])
        found = self._prefixes.get(rank)
        if found is None:
            found = [self._rng.getrandbits(63) | 1 for _ in range(self._prefix_blocks)]
            self._prefixes[rank] = found
        return found

    def tenant(self) -> str:
        """Return the name of the tenant that the next one is of."""
        if not self._tenants:
            return ANYBODY
        return self._tenants[bisect_left(self._shares, self._rng.random() * self._shares[-1])]
