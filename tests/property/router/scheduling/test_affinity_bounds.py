"""Under bad input and in long runs, memory stays bounded, and no false cache contents are believed."""

import tracemalloc
from random import Random

import numpy as np
import pytest

from router.dispatch.replica import Replica
from router.estimator.expectation import Expectation, Usage
from router.estimator.model_estimator import ModelEstimator
from router.prefix_cache.index import PrefixIndex
from router.prefix_cache.residency import Residency, ResidencyDelta
from router.prompt.chunk_chain import ChunkChain, ChunkHasher, Hashes
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from router.scheduling.registry import policy_named

NOTHING = np.empty(0, np.uint64)


def _random(generator: np.random.Generator, count: int) -> Hashes:
    return generator.integers(1, 2**64 - 1, count, dtype=np.uint64)


def _chain(hashes: Hashes) -> ChunkChain:
    ends = list(range(240, 240 * (len(hashes) + 1), 240))
    return ChunkChain(hashes.tolist(), ends, ends[-1] if ends else 0)


def test_a_hash_flood_neither_grows_nor_slows_the_index() -> None:
    """Keys made to share two buckets, claimed again and again, evict one another and hardly any other key."""
    index = PrefixIndex()
    index.add_replica("honest")
    index.add_replica("flooded")
    generator = np.random.default_rng(0)
    honest = _random(generator, 2000)
    index.claim("honest", honest)
    high = np.arange(1, 1 << 14, dtype=np.uint64)
    flood = (high << np.uint64(50)) | np.uint64(5 << 32 | 7)  # the same low and middle bits throughout
    for _ in range(6):
        index.claim("flooded", flood)
    index.check_integrity()
    assert index.nbytes < 1_000_000  # what sixteen thousand honest chunks would take
    assert index.claims("flooded") <= 16
    assert int(index.holds("honest", honest).sum()) >= 1984


def test_a_million_distinct_prefixes_fit_in_the_bound() -> None:
    """An index that gets far more than it may hold keeps its size, holds the latest, and claims nothing false."""
    index = PrefixIndex(max_slots=1 << 16)
    index.add_replica("r")
    generator = np.random.default_rng(0)
    last = NOTHING
    for _ in range(250):
        last = _random(generator, 4000)
        index.claim("r", last)
    index.check_integrity()
    assert index.nbytes <= (1 << 16) * 24
    assert index.chunks <= 1 << 16
    assert index.holds("r", last).mean() > 0.95
    assert not index.holds("r", _random(generator, 1000)).any()


def test_replicas_that_flap_leave_nothing_behind() -> None:
    """After 2 000 replicas came, claimed chunks and left, only the columns and chunks of the last seven remain."""
    index = PrefixIndex()
    generator = np.random.default_rng(0)
    for life in range(2000):
        name = f"r{life % 7}-{life}"
        index.add_replica(name)
        index.claim(name, _random(generator, 50))
        index.drop_replica(f"r{life % 7}-{life - 7}")
        index.sweep()
    assert len(index.replicas) == 7
    while not index.sweep():
        pass
    index.check_integrity()
    assert index.chunks == 7 * 50
    assert index.nbytes < 1_000_000


def test_the_estimator_does_not_grow_with_past_requests() -> None:
    """After a warm-up, 1 500 further requests that end or are lost take hardly any more memory."""
    estimator = ModelEstimator()
    estimator.residency = Residency(max_slots=1 << 14)
    policy = policy_named("expected_ttft", estimator)
    replicas = [
        Replica(Endpoint(f"r{number}", "m", "h", 1, signals=signals, kv_tokens=50_000))
        for number, signals in enumerate([frozenset({Signal.RESIDENCY}), frozenset[Signal]()] * 2)
    ]
    for replica in replicas:
        estimator.join(replica)
    generator, rng = np.random.default_rng(0), Random(0)
    running: list[Expectation] = []

    def run(requests: int, start: int) -> None:
        for number in range(start, start + requests):
            now_s = 0.05 * number
            request = RoutingRequest(f"{number}", "m", "/v1/completions", stream=number % 3 > 0, body=b"", now_s=now_s)
            request.chain = _chain(_random(generator, 1 + number % 40))
            request.match = estimator.match(request.chain)
            decision = policy.decide(request, replicas, rng)
            assert decision is not None
            running.append(estimator.expect(request, decision.replica))
            replica = replicas[number % 4]
            replica.report = LoadReport(number, 3, 1, 500, 0.5, 50_000, 0.0, 100.0, number // 4)
            estimator.reported(replica, replica.report, now_s)
            estimator.tick(now_s)
            if len(running) > 20:
                expectation = running.pop(rng.randrange(20))
                if number % 5 == 0:
                    estimator.lost(expectation, now_s)
                else:
                    estimator.prefilled(expectation, now_s)
                    estimator.finished(expectation, Usage(800, 100, 20), now_s)

    run(1500, 0)
    estimator.check_integrity()
    tracemalloc.start()
    try:
        run(200, 1500)
        settled, _ = tracemalloc.get_traced_memory()
        run(1500, 1700)
        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    estimator.check_integrity()
    assert later - settled < 3_000_000  # the shadow cache is still filling: 40 bytes a chunk it remembers


def test_a_gateway_that_was_away_for_a_minute_believes_only_the_snapshot() -> None:
    """After missed deltas the next one is refused, and the snapshot that follows replaces all claims."""
    residency = Residency()
    residency.add_replica("r", exact=True, kv_bytes=0)
    generator = np.random.default_rng(0)
    residency.apply_delta("r", ResidencyDelta(0, _random(generator, 500), NOTHING, snapshot=True))
    assert residency.modes() == {"r": "exact"}
    assert not residency.apply_delta("r", ResidencyDelta(600, _random(generator, 5), NOTHING))
    assert residency.modes() == {"r": "observed"}
    truth = _random(generator, 300)
    assert residency.apply_delta("r", ResidencyDelta(601, truth, NOTHING, snapshot=True))
    assert residency.claims("r") == 300
    assert residency.exact.holds("r", truth).all()
    assert not residency.apply_delta("r", ResidencyDelta(603, truth, NOTHING))
    residency.check_integrity()


@pytest.mark.parametrize("attackers_seed", [0, 1])
def test_hashes_cannot_be_foreseen_without_the_clusters_seed(attackers_seed: int) -> None:
    """The same prompt has no chunk hash in common under two seeds."""
    body = b'{"prompt": "' + b"x" * 5000 + b'"}'
    chains = [ChunkHasher(seed).of_body("/v1/completions", body, model="m") for seed in (attackers_seed, 0xC0FFEE)]
    assert not set(chains[0].hashes) & set(chains[1].hashes)
