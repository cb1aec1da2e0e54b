"""Where chunks end in tokens, as replicas tell it: kept beside the claims, used wherever tokens are counted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.dispatch.replica import Replica
from router.estimator.model_estimator import ModelEstimator
from router.prefix_cache.exact import ResidencyDelta
from router.prefix_cache.index import PrefixIndex
from router.prompt.chunk_chain import ChunkChain
from router.replicas.endpoint import Endpoint, Signal
from router.request import RoutingRequest

NONE = np.empty(0, np.uint64)
STEPS = st.lists(
    st.tuples(st.sampled_from(["told", "claimed", "evicted"]), st.sampled_from("ab"), st.sets(st.integers(1, 60))),
    max_size=25,
)


def _hashes(chunks: set[int] | list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(list(chunks), np.uint64) * np.uint64(0x9E3779B97F4A7C15)


@given(STEPS, st.sampled_from([32, 1 << 12]))
def test_ends_are_those_told_as_long_as_anyone_holds_the_chunk(
    steps: list[tuple[str, str, set[int]]], max_slots: int
) -> None:
    """Claims without ends don't erase them; where nobody holds a chunk any more, its end is forgotten with it."""
    index = PrefixIndex(max_slots, slots=16)
    held: dict[str, set[int]] = {"a": set(), "b": set()}
    told: set[int] = set()
    for replica_id in held:
        index.add_replica(replica_id)
    for kind, replica_id, chunks in steps:
        if kind == "evicted":
            index.evict(replica_id, _hashes(chunks))
            held[replica_id] -= chunks
        else:
            ends = np.array([7 * chunk for chunk in chunks], np.uint32)
            index.claim(replica_id, _hashes(chunks), tokens=ends if kind == "told" else None)
            held[replica_id] |= chunks
            told |= chunks if kind == "told" else set()
        told &= held["a"] | held["b"]
        index.check_integrity()
    for chunk in range(1, 61):
        found = index.match(_hashes([chunk]))
        if max_slots > 1000:
            assert found.longest == (chunk in held["a"] | held["b"])
            assert list(found.token_ends[: found.longest]) == [7 * chunk if chunk in told else 0] * found.longest
        elif found.longest:
            assert found.token_ends[0] in {0, 7 * chunk}


@given(st.integers(1, 300), st.integers(0, 300))
def test_a_match_has_the_ends_of_its_leading_chunks(chunks: int, held: int) -> None:
    """Of short prompts and of long ones, for as far as anyone holds them."""
    index = PrefixIndex()
    index.add_replica("a")
    chain = _hashes(list(range(1, chunks + 1)))
    index.claim("a", chain[:held], tokens=np.arange(10, 10 * len(chain[:held]) + 10, 10, dtype=np.uint32))
    match = index.match(chain)
    assert match.longest == match.count("a") == min(held, chunks)
    assert list(match.token_ends[: match.longest]) == list(range(10, 10 * match.longest + 10, 10))


def test_tokens_are_counted_as_told() -> None:
    """A prefix that takes more tokens a byte than most is known to; only what nobody holds is counted in bytes."""
    estimator = ModelEstimator()
    signals = frozenset({Signal.RESIDENCY})
    replicas = [Replica(Endpoint(name, model="m", host="h", http_port=1, signals=signals)) for name in "ab"]
    for replica in replicas:
        estimator.join(replica)
    chain = ChunkChain(_hashes([1, 2, 3]).tolist(), [240, 480, 720], 720)
    assert estimator.match(chain).tokens == 180
    told = np.array([200, 410], np.uint32)
    estimator.apply_delta("a", ResidencyDelta(1, _hashes([1, 2]), NONE, snapshot=True, tokens=told))
    estimator.apply_delta("b", ResidencyDelta(1, _hashes([1]), NONE, snapshot=True, tokens=told[:1]))
    assert estimator.match(chain).tokens == 410 + 60
    request = RoutingRequest("r", model="m", path="/", stream=True, body=b"", chain=chain)
    request.match = estimator.match(chain)
    expected = estimator.expect(request, replicas[1])
    assert (expected.matched_bytes, expected.matched_tokens, expected.uncached_tokens) == (240, 200, 270)
    estimator.check_integrity()
