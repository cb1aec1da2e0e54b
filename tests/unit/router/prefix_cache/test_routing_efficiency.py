"""Regret measures what an infinite shared cache would have done, within bounds."""

from random import Random

import numpy as np
import pytest

from router.prefix_cache.routing_efficiency import RoutingEfficiency, ShadowCache
from router.prompt.chunk_chain import ChunkChain


def _chain(hashes: list[int], size: int = 100) -> ChunkChain:
    ends = [size * (at + 1) for at in range(len(hashes))]
    return ChunkChain(np.array(hashes, np.uint64), ends, ends[-1] if ends else 0)


def _conversations(count: int, seed: int) -> list[ChunkChain]:
    """Return prompts of which some go on where others ended."""
    rng = Random(seed)
    talks: list[list[int]] = []
    prompts = []
    for _ in range(count):
        if talks and rng.random() < 0.6:
            talk = talks[rng.randrange(max(0, len(talks) - 50), len(talks))]
        else:
            talk = []
            talks.append(talk)
        talk.extend(rng.getrandbits(64) | 1 for _ in range(rng.randrange(1, 30)))
        prompts.append(_chain(talk))
    return prompts


def _ideal(prompts: list[ChunkChain]) -> float:
    seen: set[int] = set()
    hits = total = 0
    for prompt in prompts:
        for chunk in prompt.hashes.tolist():
            hits += chunk in seen
            total += 1
            seen.add(chunk)
    return hits / total


def test_the_ideal_is_that_of_an_infinite_cache() -> None:
    """With room for all it is exact."""
    prompts = _conversations(300, seed=1)
    shadow = ShadowCache(max_sampled=10**6)
    hits, seen = (sum(column) for column in zip(*map(shadow.visit, prompts), strict=True))
    assert hits / seen == pytest.approx(_ideal(prompts))


def test_a_small_sample_estimates_the_same() -> None:
    """A hundredth of the memory, and the hit ratio is still within a few points."""
    prompts = _conversations(8000, seed=2)
    shadow = ShadowCache(max_sampled=3000)
    hits, seen = (sum(column) for column in zip(*map(shadow.visit, prompts), strict=True))
    assert shadow.sample_rate < 0.1
    assert hits / seen == pytest.approx(_ideal(prompts), abs=0.04)


def test_memory_is_bounded_by_a_million_distinct_prefixes() -> None:
    """Nothing grows with the number of past requests."""
    shadow = ShadowCache(max_sampled=1000)
    generator = np.random.default_rng(0)
    for _ in range(2000):
        shadow.visit(_chain(generator.integers(1, 2**63, 500).tolist()))
        assert len(shadow) <= 2 * 1500


def test_when_the_memory_is_full_the_older_half_is_remembered_until_then() -> None:
    """Forgetting goes by generations: what the last one saw still hits, what the one before saw does not."""
    shadow = ShadowCache(max_sampled=100)
    generator = np.random.default_rng(0)

    def sampled(count: int) -> list[int]:
        return [bits << 29 | 1 for bits in generator.integers(1, 2**34, count).tolist()]  # in every sample

    while shadow.sample_rate > 1 / 512:
        shadow.visit(_chain(sampled(50)))
    old, between = sampled(10), sampled(200)
    shadow.visit(_chain(old))
    shadow.visit(_chain(between[:100]))  # one generation on
    assert shadow.visit(_chain(old))[0] == 1000
    for _ in range(4):
        shadow.visit(_chain(sampled(101)))
    assert shadow.visit(_chain(old))[0] == 0


def test_regret_compares_what_was_cached_with_what_could_have_been() -> None:
    """Half of what could have been cached was: regret says 0.5."""
    regret = RoutingEfficiency()
    regret.arrived(_chain([1, 2, 3, 4]))
    regret.answered("a", 400, 0)
    regret.arrived(_chain([1, 2, 3, 4]))
    regret.answered("b", 400, 200)
    assert regret.ideal_hit_ratio == pytest.approx(0.5, rel=0.01)
    assert regret.hit_ratio == pytest.approx(0.25, rel=0.01)
    assert regret.achieved == pytest.approx(0.5, rel=0.01)
    assert regret.imbalance == pytest.approx(400 * 2 / 600, rel=0.01)
    regret.forget("b")
    assert regret.imbalance == 1.0


def test_before_anything_happened_there_is_no_regret() -> None:
    """No division by nothing."""
    regret = RoutingEfficiency()
    assert (regret.hit_ratio, regret.ideal_hit_ratio, regret.achieved, regret.forgotten) == (0.0, 0.0, 1.0, 0.5)
    assert regret.imbalance == 1.0


def test_what_evicting_costs_is_measured() -> None:
    """Of what is computed a third was known once: that is the chance that something evicted is asked for again."""
    regret = RoutingEfficiency()
    for number in range(3000):
        regret.arrived(_chain([1 + 4 * (number // 2) + at for at in range(4)]))
        regret.answered("a", 400, 0 if number % 2 else 200)
    assert regret.ideal_hit_ratio == pytest.approx(0.5, abs=0.01)
    assert regret.forgotten == pytest.approx(0.25 / 0.75, abs=0.02)
