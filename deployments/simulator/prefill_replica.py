"""Simulates a replica that prefills prompts one after the other, at a fixed rate, with a prefix cache."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.simulator.block_cache import BlockCache
from deployments.simulator.trace import BLOCK_TOKENS
from router.prefix_cache.residency import ResidencyDelta
from router.prompt.chunk_chain import ChunkChain
from router.replicas.load_report import LoadReport


@dataclass(frozen=True, slots=True)
class Prefill:
    """One prompt's prefill.

    Attributes:
        start_s: when it begins, seconds.
        end_s: when it ends and the first token comes, seconds.
        tokens: uncached tokens that it computes.
        hit_blocks: number of leading blocks that were cached.
        blocks: the prompt's blocks.
        evicted: blocks that were evicted to store the prompt's blocks.
    """

    start_s: float
    end_s: float
    tokens: int
    hit_blocks: int
    blocks: Sequence[int]
    evicted: Sequence[int]


class PrefillReplica:
    """One replica: a queue served in order, a cache, and the telemetry that it would send.

    Requests are served in order and each takes a known time, so all about a request is known when it arrives.

    Args:
        kv_blocks: number of blocks that its cache holds.
        prefill_tokens_per_s: tokens that it computes a second.

    Attributes:
        busy_s: seconds of prefill of all requests it was given.
    """

    def __init__(self, kv_blocks: int, prefill_tokens_per_s: float) -> None:
        self._kv_tokens = kv_blocks * BLOCK_TOKENS
        self._cache = BlockCache(kv_blocks)
        self._tokens_per_s = prefill_tokens_per_s
        self._free_s = 0.0
        self._running: deque[Prefill] = deque()
        self._done: list[Prefill] = []
        self._accepted = 0
        self._reports = 0
        self._deltas = 0
        self.busy_s = 0.0

    def accept(self, chain: ChunkChain, tokens: int, now_s: float) -> Prefill:
        """Take a request and return its prefill.

        Args:
            chain: the prompt, one chunk for each KV block.
            tokens: the prompt's length in tokens.
            now_s: when the request arrives, seconds.
        """
        blocks = chain.hashes
        hits = self._cache.matched(blocks)
        evicted = self._cache.use(blocks)
        uncached = max(1, tokens - hits * BLOCK_TOKENS)
        start_s = max(now_s, self._free_s)
        self._free_s = start_s + uncached / self._tokens_per_s
        self.busy_s += uncached / self._tokens_per_s
        self._accepted += 1
        prefill = Prefill(start_s, self._free_s, uncached, hits, blocks, evicted)
        self._running.append(prefill)
        return prefill

    def report(self, now_s: float) -> LoadReport:
        """Return its load report at the time `now_s`; successive calls must not go back in time."""
        while self._running and self._running[0].end_s <= now_s:
            self._done.append(self._running.popleft())
        left = 0.0
        for prefill in self._running:
            left += prefill.tokens - max(0.0, now_s - prefill.start_s) * self._tokens_per_s
        self._reports += 1
        return LoadReport(
            sequence=self._reports,
            running=0,
            waiting=len(self._running),
            waiting_tokens=round(left),
            kv_usage=0.0,
            kv_capacity_tokens=self._kv_tokens,
            prefill_tokens_per_s=0.0,
            decode_tokens_per_s=0.0,
            accepted=self._accepted,
        )

    def snapshot(self) -> ResidencyDelta:
        """Return the snapshot that begins its residency stream: nothing is cached."""
        return ResidencyDelta(self._deltas, np.empty(0, np.uint64), np.empty(0, np.uint64), snapshot=True)

    def delta(self) -> ResidencyDelta | None:
        """Return the changes of its cache between the last delta and the last report; None: there are none."""
        if not self._done:
            return None
        resident: dict[int, bool] = {}
        for prefill in self._done:
            resident.update(dict.fromkeys(prefill.blocks, True))
            resident.update(dict.fromkeys(prefill.evicted, False))
        self._done.clear()
        self._deltas += 1
        kept = [block for block, held in resident.items() if held]
        gone = [block for block, held in resident.items() if not held]
        return ResidencyDelta(self._deltas, np.array(kept, np.uint64), np.array(gone, np.uint64))
