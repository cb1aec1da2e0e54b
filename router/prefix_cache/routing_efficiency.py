"""Routing regret: how much of what could have been cached was cached, and how evenly the work was spread."""

from collections.abc import Iterable

import numpy as np

from router.prompt.chunk_chain import ChunkChain, Hashes

MAX_SAMPLED = 8192
"""Sampled chunks remembered in each of two generations: about 2 MB when full. SHARDS finds the hit ratio within
1 % with as many."""
LAST_SAMPLE_BITS = 9
"""At the thinnest, one chunk in 512 is sampled; then the oldest are forgotten instead. A generation then stands for 4
million chunks."""
_FEW = 16
"""Up to so many chunks are looked at one by one: cheaper than numpy's calls."""
_SAMPLE_SHIFT = 20
"""The sample goes by bits of the hash that the prefix index's buckets do not go by first."""
EVEN_CHANCE = 0.5
PRIOR_REQUESTS = 30.0
"""An even chance weighs as much as so many requests."""
KEEP = 0.999
"""What each request leaves of the weight of those before: the last thousand count."""


class ShadowCache:
    """What one infinite cache shared by all replicas would have held, from a sample of the chunks.

    A chunk hash stands for its whole prefix and nothing is ever evicted, so whether a chunk hits does not depend on any
    other: a sample by hash gives an unbiased hit ratio (SHARDS: Waldspurger et al., "Efficient MRC Construction with
    SHARDS", FAST 2015). Every chunk is sampled at first; when the memory is full the sample is halved, and at last the
    older half of it forgotten.
    """

    def __init__(self, max_sampled: int = MAX_SAMPLED) -> None:
        self._max_sampled = max_sampled
        self._bits = 0
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def sample_rate(self) -> float:
        """The share of chunks that is looked at."""
        return 1.0 / (1 << self._bits)

    def visit(self, chain: ChunkChain) -> tuple[int, int]:
        """Let a prompt go through the cache; return bytes that hit and bytes looked at, of the sampled chunks."""
        hit = seen = 0
        young, old, ends = self._young, self._old, chain.ends
        for position, chunk in self._sampled(chain.hashes):
            size = ends[position] - ends[position - 1] if position else ends[0]
            seen += size
            if chunk in young:
                hit += size
            else:
                if chunk in old:
                    hit += size
                young.add(chunk)
        if len(young) > self._max_sampled:
            self._thin_out()
        return hit, seen

    def _sampled(self, hashes: Hashes) -> Iterable[tuple[int, int]]:
        """Return where the sampled chunks stand, and their hashes."""
        mask = (1 << self._bits) - 1
        if len(hashes) <= _FEW or not mask:
            return [(at, chunk) for at, chunk in enumerate(hashes.tolist()) if not chunk >> _SAMPLE_SHIFT & mask]
        positions = ((hashes & np.uint64(mask << _SAMPLE_SHIFT)) == 0).nonzero()[0]
        return zip(positions.tolist(), hashes[positions].tolist(), strict=True)

    def _thin_out(self) -> None:
        if self._bits == LAST_SAMPLE_BITS:
            self._old, self._young = self._young, set()
            return
        self._bits += 1
        mask = (1 << self._bits) - 1
        self._young = {chunk for chunk in self._young if not chunk >> _SAMPLE_SHIFT & mask}
        self._old = {chunk for chunk in self._old if not chunk >> _SAMPLE_SHIFT & mask}


class RoutingEfficiency:
    """How well one model's requests were routed. Ratios are over about the last thousand requests.

    Attributes:
        shadow: the infinite cache.
        prompt_tokens: of all answered requests.
        cached_tokens: of those, what replicas had cached.
    """

    def __init__(self, shadow: ShadowCache | None = None) -> None:
        self.shadow = shadow or ShadowCache()
        self.prompt_tokens = 0.0
        self.cached_tokens = 0.0
        self._recent_requests = 0.0
        self._recent_prompt = 0.0
        self._recent_cached = 0.0
        self._recent_seen = 0.0
        self._recent_hit = 0.0
        self._recent_work: dict[str, float] = {}

    def arrived(self, chain: ChunkChain) -> None:
        """Let a request's prompt go through the infinite cache."""
        if not len(chain):
            return
        hit, seen = self.shadow.visit(chain)
        self._recent_seen = KEEP * self._recent_seen + seen
        self._recent_hit = KEEP * self._recent_hit + hit

    def answered(self, replica_id: str, prompt_tokens: float, cached_tokens: float) -> None:
        """Count what a replica had cached of a request."""
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens
        self._recent_requests = KEEP * self._recent_requests + 1.0
        self._recent_prompt = KEEP * self._recent_prompt + prompt_tokens
        self._recent_cached = KEEP * self._recent_cached + cached_tokens
        work = self._recent_work
        for known in work:
            work[known] *= KEEP
        work[replica_id] = work.get(replica_id, 0.0) + prompt_tokens - cached_tokens

    def forget(self, replica_id: str) -> None:
        """Leave a replica that is gone out of the balance."""
        self._recent_work.pop(replica_id, None)

    @property
    def hit_ratio(self) -> float:
        """The share of prompt tokens that replicas had cached."""
        return self._recent_cached / self._recent_prompt if self._recent_prompt else 0.0

    @property
    def ideal_hit_ratio(self) -> float:
        """The share that one infinite shared cache would have had."""
        return self._recent_hit / self._recent_seen if self._recent_seen else 0.0

    @property
    def achieved(self) -> float:
        """The hit ratio over the ideal one; 1 where there was nothing to hit."""
        ideal = self.ideal_hit_ratio
        return min(1.0, self.hit_ratio / ideal) if ideal else 1.0

    @property
    def forgotten(self) -> float:
        """The chance that what a cache evicts is asked for again.

        In the long run as much is evicted as is computed, so it is the share of computed tokens that had been computed
        before. Before anything is known it is an even chance.
        """
        missed = 1.0 - self.hit_ratio
        measured = max(0.0, self.ideal_hit_ratio - self.hit_ratio) / missed if missed > 0.0 else 0.0
        unknown = PRIOR_REQUESTS / (PRIOR_REQUESTS + self._recent_requests)
        return unknown * EVEN_CHANCE + (1.0 - unknown) * measured

    @property
    def imbalance(self) -> float:
        """The most uncached work any replica got over the mean; 1 is even."""
        work = self._recent_work.values()
        total = sum(work)
        return max(work) * len(work) / total if total > 0.0 else 1.0
