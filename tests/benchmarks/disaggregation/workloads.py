"""The workloads of `bench-disaggregation`: what is asked, and the limits that it is held to.

Limits, each with its source or reason. An empty fleet meets them for at least 99 % of each kind's requests.

- `FAST` 1.5 s and 15 ms: MLPerf Inference's interactive limits of DeepSeek-R1. Answers of thousands of tokens, which
  their readers wait for.
- `CHAT` 0.5 s and 25 ms, `SEARCH` 1 s and 25 ms: our choice. 40 tokens a second; the first token before one wonders.
- `AGENT` 6 s and 20 ms: our choice. 50 tokens a second, as programs wait for whole answers; the first use of a prefix
  of 27 000 tokens takes 2 to 5 s on an idle replica.
- `DOCUMENT` 5 s and 25 ms, `BOOK` 15 s and 25 ms: DistServe (OSDI 2024) gives summaries 15 s to their first token; the
  documents are a quarter as long as the books. Answers stream as fast as those of chats.
- `RECORDED` 30 s and 100 ms: the limits that Mooncake's paper (FAST 2025) holds this trace's service to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean, pstdev
from typing import Final

from cluster.replica_cost.cost_model import Work
from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.disaggregation.prompts import LatencyLimits, PromptRequest
from deployments.simulator.trace_file import read_trace
from tests.benchmarks.disaggregation.loads import Kind, bursty, recorded, steady, varying
from tests.data_files import MOONCAKE_TRACE

IN_TIME: Final = 0.95
"""Share of the requests that must meet their limits."""

FAST: Final = LatencyLimits(1.5, 0.015)
CHAT: Final = LatencyLimits(0.5, 0.025)
SEARCH: Final = LatencyLimits(1.0, 0.025)
AGENT: Final = LatencyLimits(6.0, 0.020)
DOCUMENT: Final = LatencyLimits(5.0, 0.025)
BOOK: Final = LatencyLimits(15.0, 0.025)
RECORDED: Final = LatencyLimits(30.0, 0.100)

SHORT_CHATS: Final = Kind("short_chats", 200, 800, FAST)
CHATS: Final = Kind("chats", 2_000, 300, CHAT, shared=0.7)
DRAFTS: Final = Kind("drafts", 500, 4_000, FAST)
REASONING: Final = Kind("reasoning", 1_000, 2_000, FAST)
PASSAGES: Final = Kind("passages", 4_000, 250, SEARCH)
LABELS: Final = Kind("labels", 6_000, 50, replace(SEARCH, ttft_s=2.0))
DOCUMENTS: Final = Kind("documents", 16_000, 300, DOCUMENT)
SHARED_DOCUMENTS: Final = Kind("shared_documents", 20_000, 300, DOCUMENT, shared=0.5)
BOOKS: Final = Kind("books", 60_000, 400, BOOK, spread=0.3)
AGENTS: Final = Kind("agents", 30_000, 400, AGENT, shared=0.9)
WRITING_AGENTS: Final = Kind("writing_agents", 40_000, 1_500, AGENT, shared=0.8, spread=0.3)

MIX: Final[Mapping[Kind, float]] = {
    SHORT_CHATS: 0.20,
    CHATS: 0.25,
    REASONING: 0.05,
    PASSAGES: 0.20,
    AGENTS: 0.15,
    DOCUMENTS: 0.12,
    BOOKS: 0.03,
}
"""All kinds of work at once."""
CALM: Final[Mapping[Kind, float]] = {SHORT_CHATS: 0.5, CHATS: 0.5}
DAY: Final = SHORT_CHATS
NIGHT: Final = DOCUMENTS
_PHASE: Final = 1_200.0
"""Length of a day and of a night, in mean times between requests of the whole load: five times as long as an answer."""
_NIGHT_RATE: Final = 0.06
"""Requests by night for one by day: what loads one pool of the fleet as much (2.9 documents and 46 chats a second)."""

_TRACE_REQUESTS: Final = 1_500
_REHEARSED: Final = 1_000
"""What is added to a workload's seed for its rehearsal."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload.

    Attributes:
        name: its name.
        requests: its requests, in their order.
        thresholds: numbers of uncached tokens above which to compute prompts apart, that are worth trying.
    """

    name: str
    requests: Sequence[PromptRequest]
    thresholds: Sequence[int]

    @property
    def measured(self) -> range:
        """The requests that are measured: those before fill the fleet, and those after keep it full."""
        count = len(self.requests)
        return range(count // 5, count - count // 10)

    @property
    def work(self) -> Work:
        """Mean size of a request, as the planner is told it."""
        return work_of(self.requests)

    @property
    def kinds(self) -> list["MeanRequest"]:
        """The mean request of each kind of which there are enough to count among those that may be late."""
        found = []
        for kind in sorted({request.kind for request in self.requests}):
            requests = [request for request in self.requests if request.kind == kind]
            if len(requests) > (1 - IN_TIME) * len(self.requests):
                found.append(MeanRequest(work_of(requests), requests[0].limits))
        return found


@dataclass(frozen=True, slots=True)
class MeanRequest:
    """A kind of request, as the planner is told it.

    Attributes:
        work: its mean size.
        limits: what it is held to.
    """

    work: Work
    limits: LatencyLimits


def work_of(requests: Sequence[PromptRequest]) -> Work:
    """Return the mean size of requests; hits are those of one infinite cache."""
    seen: set[int] = set()
    uncached: list[float] = []
    for request in requests:
        hashes = request.chain.hashes
        hits = next((at for at, block in enumerate(hashes) if block not in seen), len(hashes))
        seen.update(hashes)
        uncached.append(max(1.0, request.prompt_tokens - hits * BLOCK_TOKENS))
    prompt = fmean(request.prompt_tokens for request in requests)
    outputs = [float(request.output_tokens) for request in requests]
    return Work(
        input_tokens=prompt,
        output_tokens=fmean(outputs),
        prefix_hit=1 - fmean(uncached) / prompt,
        output_spread=pstdev(outputs) / fmean(outputs),
        input_spread=pstdev(uncached) / fmean(uncached),
    )


def _single(kind: Kind, count: int) -> Callable[[Random], list[PromptRequest]]:
    return lambda rng: steady({kind: 1.0}, count, rng)


def _changing(rng: Random, phases: int = 6) -> list[PromptRequest]:
    """Return days and nights in turn."""
    mean = (1.0 + _NIGHT_RATE) / 2

    def is_night(at: float) -> bool:
        return int(at / _PHASE) % 2 == 1

    found = varying(
        lambda at: {NIGHT: 1.0} if is_night(at) else {DAY: 1.0},
        lambda at: (_NIGHT_RATE if is_night(at) else 1.0) / mean,
        int(_PHASE * phases * 1.1),
        rng,
    )
    return [request for request in found if request.at < _PHASE * phases]


_DRAWN: Final[Mapping[str, tuple[Callable[[Random], list[PromptRequest]], Sequence[int]]]] = {
    "short_chats": (_single(SHORT_CHATS, 4_000), ()),
    "chats": (_single(CHATS, 2_500), (500, 1_000, 2_000)),
    "drafts": (_single(DRAFTS, 2_500), (500,)),
    "reasoning": (_single(REASONING, 2_500), (1_000,)),
    "passages": (_single(PASSAGES, 1_500), (2_000, 4_000)),
    "labels": (_single(LABELS, 1_500), (4_000, 8_000)),
    "documents": (_single(DOCUMENTS, 1_200), (8_000, 16_000)),
    "shared_documents": (_single(SHARED_DOCUMENTS, 1_200), (4_000, 8_000, 16_000)),
    "books": (_single(BOOKS, 800), (60_000,)),
    "agents": (_single(AGENTS, 1_500), (2_000, 4_000, 16_000)),
    "writing_agents": (_single(WRITING_AGENTS, 1_200), (4_000, 8_000, 16_000)),
    "bursts": (lambda rng: bursty(CALM, {DOCUMENTS: 0.5, PASSAGES: 0.5}, 2_000, rng), (1_000, 4_000, 8_000)),
    "mix": (lambda rng: steady(MIX, 2_000, rng), (1_000, 2_000, 4_000, 8_000, 16_000)),
    "changing": (_changing, (1_000, 4_000, 8_000, 16_000)),
}
RECORDED_NAME: Final = "mooncake"
NAMES: Final = (*_DRAWN, RECORDED_NAME)
MIXED: Final = "mix"
CHANGING: Final = "changing"


def workload(name: str, seed: int, *, short: bool = False) -> Workload | None:
    """Return a workload by name; None: its data file is not here.

    Args:
        name: one of `NAMES`.
        seed: draws everything.
        short: only its first part and one threshold, for a smoke test.
    """
    return _workload(name, seed, 0, short=short)


def rehearsal(name: str, seed: int, *, short: bool = False) -> Workload | None:
    """Return a load like a workload, and none of its requests: what its operator has seen before.

    It is drawn with another seed; of the recorded trace it is the part that follows.
    """
    return _workload(name, seed + _REHEARSED, _TRACE_REQUESTS, short=short)


def _workload(name: str, seed: int, skipped: int, *, short: bool) -> Workload | None:
    if name == RECORDED_NAME:
        path = MOONCAKE_TRACE.found()
        if path is None:
            return None
        trace = read_trace(path, skipped + _TRACE_REQUESTS)[skipped:]
        requests, thresholds = recorded(trace, RECORDED, seed), (2_000, 8_000, 16_000)
        return Workload(name, requests[:300] if short else requests, thresholds[:1] if short else thresholds)
    draw, tried = _DRAWN[name]
    drawn = draw(Random(seed))
    return Workload(name, drawn[:300] if short else drawn, tried[:1] if short else tried)
