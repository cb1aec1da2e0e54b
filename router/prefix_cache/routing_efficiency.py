"""Routing efficiency: the share of the possible cache hits that was had, and how evenly the work was spread."""

from typing import Final, final

from router.prompt.chunk_chain import ChunkChain

MAX_SAMPLED: Final = 8192
"""Sampled chunks kept in each of two generations; about 2 MB when both are full. A SHARDS sample of this size gives the
hit ratio to within 1 %."""
LAST_SAMPLE_BITS: Final = 9
"""Upper bound of the times the sample is halved, to one chunk in 512; then the oldest chunks are forgotten instead. A
generation then stands for 4 million chunks."""
_SAMPLE_SHIFT: Final = 20
"""Lowest of the hash bits that decide whether a chunk is sampled. The prefix index picks first homes by the bits below,
so the sample does not depend on them."""
EVEN_CHANCE: Final = 0.5
"""Chance, before any request was answered, that evicted chunks are asked for again."""
PRIOR_REQUESTS: Final = 30.0
"""Answered requests at which the measured chance weighs as much as `EVEN_CHANCE`."""
KEEP: Final = 0.999
"""Factor by which each request fades the weight of those before it: about the last thousand count."""
_MOST_WEIGHT: Final = 1e100
"""Weight of the latest request above which all weights are made small again."""


@final
class ShadowCache:
    """A sample of what one infinite cache, shared by all replicas, would hold.

    A chunk's hash stands for its whole prefix, and an infinite cache evicts nothing, so whether a chunk hits does not
    depend on any other chunk. A sample by hash thus gives an unbiased hit ratio (SHARDS: Waldspurger et al., "Efficient
    MRC Construction with SHARDS", FAST 2015). At first every chunk is sampled. Each time the memory is full the sample
    is halved; at one chunk in 512 the older generation is forgotten instead.

    Args:
        max_sampled: sampled chunks kept in each of the two generations.
    """

    def __init__(self, max_sampled: int = MAX_SAMPLED) -> None:
        self._max_sampled = max_sampled
        self._bits = 0
        self._unsampled = 0
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    @property
    def sample_rate(self) -> float:
        """Share of the chunks that is sampled, 0 to 1."""
        return 1.0 / (1 << self._bits)

    def visit(self, chain: ChunkChain) -> tuple[int, int]:
        """Look a prompt up in the cache and store it there; return bytes hit and bytes seen, of sampled chunks only."""
        hit = seen = start = 0
        young, old, unsampled = self._young, self._old, self._unsampled
        for chunk, end in zip(chain.hashes, chain.ends, strict=True):
            if not chunk & unsampled:
                seen += end - start
                if chunk in young:
                    hit += end - start
                else:
                    if chunk in old:
                        hit += end - start
                    young.add(chunk)
            start = end
        if len(young) > self._max_sampled:
            self._thin_out()
        return hit, seen

    def _thin_out(self) -> None:
        if self._bits == LAST_SAMPLE_BITS:
            self._old, self._young = self._young, set()
            return
        self._bits += 1
        unsampled = self._unsampled = (1 << self._bits) - 1 << _SAMPLE_SHIFT
        self._young = {chunk for chunk in self._young if not chunk & unsampled}
        self._old = {chunk for chunk in self._old if not chunk & unsampled}


@final
class RoutingEfficiency:
    """How well one model's requests were routed. Ratios are over about the last thousand requests.

    Args:
        shadow: the infinite cache to compare with; None: a new one.

    Attributes:
        shadow: the infinite cache.
        prompt_tokens: prompt tokens of all answered requests.
        cached_tokens: those of them that replicas had cached.
    """

    def __init__(self, shadow: ShadowCache | None = None) -> None:
        self.shadow = shadow or ShadowCache()
        self.prompt_tokens = 0.0
        self.cached_tokens = 0.0
        self._recent_requests = 0.0
        self._recent_prompts = self._recent_cached = 0.0
        self._recent_seen = self._recent_hits = 0.0
        self._recent_work: dict[str, float] = {}
        self._weight = 1.0

    def arrived(self, chain: ChunkChain) -> None:
        """Look a new request's prompt up in the infinite cache and store it there."""
        if not chain.ends:
            return
        hit, seen = self.shadow.visit(chain)
        self._recent_hits = KEEP * self._recent_hits + hit
        self._recent_seen = KEEP * self._recent_seen + seen

    def answered(self, replica_id: str, prompt_tokens: float, cached_tokens: float) -> None:
        """Count an answered request's prompt tokens, and those that its replica had cached."""
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens
        self._recent_requests = KEEP * self._recent_requests + 1.0
        self._recent_cached = KEEP * self._recent_cached + cached_tokens
        self._recent_prompts = KEEP * self._recent_prompts + prompt_tokens
        work = self._recent_work
        work[replica_id] = work.get(replica_id, 0.0) + (prompt_tokens - cached_tokens) * self._weight
        self._weight /= KEEP  # later requests weigh more, in place of a look at every replica to let the others fade
        if self._weight > _MOST_WEIGHT:
            for known in work:
                work[known] /= self._weight
            self._weight = 1.0

    def forget(self, replica_id: str) -> None:
        """Leave a replica that is gone out of `imbalance`."""
        self._recent_work.pop(replica_id, None)

    @property
    def hit_ratio(self) -> float:
        """Share of prompt tokens that replicas had cached, 0 to 1."""
        return self._recent_cached / self._recent_prompts if self._recent_prompts > 0.0 else 0.0

    @property
    def ideal_hit_ratio(self) -> float:
        """Share of prompt bytes that one infinite shared cache would have had, 0 to 1."""
        return self._recent_hits / self._recent_seen if self._recent_seen > 0.0 else 0.0

    @property
    def achieved(self) -> float:
        """The hit ratio divided by the ideal one, 0 to 1; 1 where there was nothing to hit."""
        ideal = self.ideal_hit_ratio
        return min(1.0, self.hit_ratio / ideal) if ideal else 1.0

    @property
    def forgotten(self) -> float:
        """Chance that a chunk which a cache evicts is asked for again, 0 to 1.

        In the long run a cache evicts as much as it computes, so this is the share of computed tokens that had been
        computed before. It starts as `EVEN_CHANCE` and is blended with the measured share as requests are answered.
        """
        missed = 1.0 - self.hit_ratio
        measured = max(0.0, self.ideal_hit_ratio - self.hit_ratio) / missed if missed > 0.0 else 0.0
        unknown = PRIOR_REQUESTS / (PRIOR_REQUESTS + self._recent_requests)
        return unknown * EVEN_CHANCE + (1.0 - unknown) * measured

    @property
    def imbalance(self) -> float:
        """Uncached tokens of the replica that got most, divided by the mean over replicas; 1 is even."""
        work = self._recent_work.values()
        total = sum(work)
        return max(work) * len(work) / total if total > 0.0 else 1.0
