"""Routing efficiency measures what an infinite shared cache would have done, in bounded memory."""

from random import Random

import numpy as np
import pytest

from router.prefix_cache.routing_efficiency import RoutingEfficiency, ShadowCache
from router.prompt.chunk_chain import ChunkChain


def _chain(hashes: list[int], size: int = 100) -> ChunkChain:
    ends = [size * (at + 1) for at in range(len(hashes))]
    return ChunkChain(hashes, ends, ends[-1] if ends else 0)


def _conversations(count: int, seed: int) -> list[ChunkChain]:
    """Return prompts, some of which continue earlier ones."""
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
        prompts.append(_chain(list(talk)))
    return prompts


def _ideal(prompts: list[ChunkChain]) -> float:
    seen: set[int] = set()
    hits = total = 0
    for prompt in prompts:
        for chunk in prompt.hashes:
            hits += chunk in seen
            total += 1
            seen.add(chunk)
    return hits / total


def test_the_ideal_is_that_of_an_infinite_cache() -> None:
    """With room for all chunks the ideal hit ratio is exact."""
    prompts = _conversations(300, seed=1)
    shadow = ShadowCache(max_sampled=10**6)
    hits, seen = (sum(column) for column in zip(*map(shadow.visit, prompts), strict=True))
    assert hits / seen == pytest.approx(_ideal(prompts))


def test_a_small_sample_estimates_the_same() -> None:
    """A sample of under a tenth of the chunks gives the hit ratio to within a few points."""
    prompts = _conversations(8000, seed=2)
    shadow = ShadowCache(max_sampled=3000)
    hits, seen = (sum(column) for column in zip(*map(shadow.visit, prompts), strict=True))
    assert shadow.sample_rate < 0.1
    assert hits / seen == pytest.approx(_ideal(prompts), abs=0.04)


def test_memory_is_bounded_by_a_million_distinct_prefixes() -> None:
    """The shadow cache does not grow with the number of past requests."""
    shadow = ShadowCache(max_sampled=1000)
    generator = np.random.default_rng(0)
    for _ in range(2000):
        shadow.visit(_chain(generator.integers(1, 2**63, 500).tolist()))
        assert len(shadow) <= 2 * 1500


def test_two_generations_are_remembered_and_older_ones_forgotten() -> None:
    """Chunks seen in the last generation still hit; chunks seen only before that do not."""
    shadow = ShadowCache(max_sampled=100)
    generator = np.random.default_rng(0)

    def sampled(count: int) -> list[int]:
        return [bits << 29 | 1 for bits in generator.integers(1, 2**34, count).tolist()]  # in every sample

    while shadow.sample_rate > 1 / 512:
        shadow.visit(_chain(sampled(50)))
    old, between = sampled(10), sampled(200)
    shadow.visit(_chain(old))
    shadow.visit(_chain(between[:100]))  # fills one generation
    assert shadow.visit(_chain(old))[0] == 1000
    for _ in range(4):
        shadow.visit(_chain(sampled(101)))
    assert shadow.visit(_chain(old))[0] == 0


def test_hits_are_compared_with_the_possible_ones() -> None:
    """Half of the possible hits were had: `achieved` is 0.5."""
    efficiency = RoutingEfficiency()
    efficiency.arrived(_chain([1, 2, 3, 4]))
    efficiency.answered("a", 400, 0)
    efficiency.arrived(_chain([1, 2, 3, 4]))
    efficiency.answered("b", 400, 200)
    assert efficiency.ideal_hit_ratio == pytest.approx(0.5, rel=0.01)
    assert efficiency.hit_ratio == pytest.approx(0.25, rel=0.01)
    assert efficiency.achieved == pytest.approx(0.5, rel=0.01)
    assert efficiency.imbalance == pytest.approx(400 * 2 / 600, rel=0.01)
    efficiency.forget("b")
    assert efficiency.imbalance == 1.0


def test_before_the_first_request_routing_is_fully_efficient() -> None:
    """Without any request no ratio divides by zero, and `forgotten` is an even chance."""
    efficiency = RoutingEfficiency()
    assert (efficiency.hit_ratio, efficiency.ideal_hit_ratio, efficiency.achieved, efficiency.forgotten) == (
        0.0,
        0.0,
        1.0,
        0.5,
    )
    assert efficiency.imbalance == 1.0


def test_what_evicting_costs_is_measured() -> None:
    """A third of what is computed had been computed before: the chance that an evicted chunk is asked for again."""
    efficiency = RoutingEfficiency()
    for number in range(3000):
        efficiency.arrived(_chain([1 + 4 * (number // 2) + at for at in range(4)]))
        efficiency.answered("a", 400, 0 if number % 2 else 200)
    assert efficiency.ideal_hit_ratio == pytest.approx(0.5, abs=0.01)
    assert efficiency.forgotten == pytest.approx(0.25 / 0.75, abs=0.02)


def test_imbalance_is_the_same_after_any_number_of_answers() -> None:
    """Weights that grow with each answer are made small again before they leave what a float can hold."""
    efficiency = RoutingEfficiency()
    for number in range(300_000):
        efficiency.answered(f"r{number % 3 // 2}", 100.0, 0.0)  # two of three go to r0
    assert efficiency.imbalance == pytest.approx(4 / 3, rel=0.01)
