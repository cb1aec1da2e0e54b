"""Draws the loads of `bench-disaggregation`: prompts and answers of given lengths, shared prefixes, bursts, phases.

Times are in units of the mean time between two requests, so that one load is sent at any rate and all contestants get
the same requests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.disaggregation.prompts import LatencyLimits, PromptRequest, block_chain, recorded_chain
from deployments.simulator.trace import TraceRequest

LONGEST_TOKENS: Final = 120_000
"""Longest prompt: the model's context is 131 072."""
_HASH_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work.

    Attributes:
        name: its name.
        prompt_tokens: mean length of a prompt, tokens.
        output_tokens: mean length of an answer, tokens.
        limits: what its requests are held to.
        spread: standard deviation of the logarithms of both, which are log-normal.
        shared: share of each prompt that it has in common with other prompts: a chat's history, a document.
        uses: prompts that have the same prefix, on average.
        prefixes: prefixes in use at any time.
    """

    name: str
    prompt_tokens: float
    output_tokens: float
    limits: LatencyLimits
    spread: float = 0.5
    shared: float = 0.0
    uses: float = 20.0
    prefixes: int = 64

    @property
    def hit(self) -> float:
        """Share of its prompts' tokens that one infinite cache would hold, about: each prefix is new once."""
        return self.shared * (1 - 1 / self.uses)


class _Prompts:
    """Draws the requests of one kind."""

    def __init__(self, kind: Kind, rng: Random) -> None:
        self._kind = kind
        self._rng = rng
        self._live: list[list[int]] = []

    def request(self, at: float) -> PromptRequest:
        kind, rng = self._kind, self._rng
        shift = -(kind.spread**2) / 2  # the mean of a log-normal is exp(mu + sigma² / 2)
        prefix: list[int] = []
        fresh = kind.prompt_tokens * (1 - kind.shared)
        if kind.shared:
            prefix = self._prefix(kind.prompt_tokens * kind.shared * rng.lognormvariate(shift, kind.spread))
        tokens = len(prefix) * BLOCK_TOKENS + 1 + int(fresh * rng.lognormvariate(shift, kind.spread))
        tokens = min(tokens, LONGEST_TOKENS)
        hashes = prefix[: tokens // BLOCK_TOKENS]  # the rest is never asked for again: caching it would show nothing
        output = 2 + int((kind.output_tokens - 2) * rng.lognormvariate(shift, kind.spread))
        return PromptRequest(at, tokens, output, block_chain(hashes, tokens), kind.limits, kind.name)

    def _prefix(self, new_tokens: float) -> list[int]:
        kind, rng, live = self._kind, self._rng, self._live
        place = rng.randrange(kind.prefixes)
        if place < len(live) and rng.random() > 1 / kind.uses:
            return live[place]
        blocks = max(1, round(min(new_tokens, 0.9 * LONGEST_TOKENS) / BLOCK_TOKENS))
        made = [rng.getrandbits(_HASH_BITS) or 1 for _ in range(blocks)]
        if len(live) < kind.prefixes:
            live.append(made)
        else:
            live[place] = made
        return made


def steady(kinds: Mapping[Kind, float], count: int, rng: Random) -> list[PromptRequest]:
    """Return requests that come as a Poisson process.

    Args:
        kinds: share of the requests that are of each kind; the shares add up to 1.
        count: number of requests.
        rng: draws everything.
    """
    return varying(lambda _: kinds, lambda _: 1.0, count, rng)


def bursty(kinds: Mapping[Kind, float], burst: Mapping[Kind, float], count: int, rng: Random) -> list[PromptRequest]:
    """Return requests of which two fifths come in bursts: 50 or so at four times the usual rate, of kinds of their own.

    Args:
        kinds: share of each kind between bursts.
        burst: share of each kind in bursts.
        count: number of requests.
        rng: draws everything.
    """
    period, length = 75.0, 12.5  # 62.5 · 1 + 12.5 · 4 = 112.5 requests

    def is_burst(at: float) -> bool:
        return at % period >= period - length

    found = varying(lambda at: burst if is_burst(at) else kinds, lambda at: 4.0 if is_burst(at) else 1.0, count, rng)
    mean = period / (period - length + 4.0 * length)  # so that the mean time between requests is 1 again
    return [replace(request, at=request.at / mean) for request in found]


def varying(
    kinds_at: Callable[[float], Mapping[Kind, float]], rate_at: Callable[[float], float], count: int, rng: Random
) -> list[PromptRequest]:
    """Return requests that come as a Poisson process whose rate and kinds change over time.

    Args:
        kinds_at: share of each kind at a time.
        rate_at: rate at a time, in requests per unit of time.
        count: number of requests.
        rng: draws everything.
    """
    prompts: dict[str, _Prompts] = {}
    found: list[PromptRequest] = []
    at = 0.0
    while len(found) < count:
        at += rng.expovariate(rate_at(at))
        kinds = kinds_at(at)
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        if kind.name not in prompts:
            prompts[kind.name] = _Prompts(kind, Random(rng.getrandbits(_HASH_BITS)))
        found.append(prompts[kind.name].request(at))
    return found


def recorded(trace: Sequence[TraceRequest], limits: LatencyLimits, seed: int) -> list[PromptRequest]:
    """Return a recorded trace's requests, with its times and prefixes.

    Args:
        trace: the requests.
        limits: what they are held to.
        seed: of the prompts' hashes.
    """
    mean_ms = (trace[-1].timestamp - trace[0].timestamp) / (len(trace) - 1)
    return [
        PromptRequest(
            at=(request.timestamp - trace[0].timestamp) / mean_ms,
            prompt_tokens=request.input_length,
            output_tokens=max(2, request.output_length),
            chain=recorded_chain(request, seed),
            limits=limits,
            kind="recorded",
        )
        for request in trace
    ]
