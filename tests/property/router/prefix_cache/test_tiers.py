"""Prompts matched against replicas that hold blocks below their devices, beside a naive model in plain sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.prefix_cache.residency import Residency, ResidencyDelta
from router.prompt.chunk_chain import ChunkChain, Hashes

NOTHING = np.empty(0, np.uint64)
CHAIN = ChunkChain(list(range(1, 9)), [100 * place for place in range(1, 9)], 800)
PLACES = st.dictionaries(st.integers(1, 8), st.sampled_from(["device", "below", "gone"]))


def _array(chunks: set[int]) -> Hashes:
    return np.array(sorted(chunks), np.uint64)


def _delta(sequence: int, changes: dict[int, str], before: dict[int, str], *, snapshot: bool = False) -> ResidencyDelta:
    """Return the delta of what changed, as a replica words it."""
    to = {place: {chunk for chunk, now in changes.items() if now == place} for place in ("device", "below", "gone")}
    left = {chunk for chunk in to["below"] | to["gone"] if chunk in before}
    return ResidencyDelta(
        sequence,
        _array(to["device"]),
        NOTHING if snapshot else _array(left),
        snapshot=snapshot,
        tokens=np.array([10 * chunk for chunk in sorted(to["device"])], np.uint32),
        lower=_array(to["below"]),
        lower_tokens=np.array([10 * chunk for chunk in sorted(to["below"])], np.uint32),
    )


def _leading(held: set[int]) -> int:
    return next((place for place in range(8) if place + 1 not in held), 8)


@given(st.lists(st.tuples(st.sampled_from("ab"), PLACES, st.booleans()), max_size=12), st.integers(0, 8))
def test_both_counts_are_those_of_sets(steps: list[tuple[str, dict[int, str], bool]], plain: int) -> None:
    """Leading chunks on the device and in any tier, with their ends, of several replicas and beside one without tiers.

    Whatever moves between the tiers, and also after a replica has begun anew with a snapshot.
    """
    residency = Residency()
    for name in "abc":
        residency.add_replica(name, exact=True, kv_bytes=0)
    held: dict[str, dict[int, str]] = {"a": {}, "b": {}}
    sequences = dict.fromkeys("ab", 0)
    for name in held:
        assert residency.apply_delta(name, _delta(0, {}, {}, snapshot=True))
    residency.apply_delta("c", ResidencyDelta(0, _array(set(range(1, plain + 1))), NOTHING, snapshot=True))
    for name, changes, resync in steps:
        before = dict(held[name])
        held[name] = {chunk: place for chunk, place in (before | changes).items() if place != "gone"}
        sequences[name] += 1
        if resync:
            delta = _delta(sequences[name], held[name], {}, snapshot=True)
        else:
            moved = {chunk: place for chunk, place in changes.items() if before.get(chunk, "gone") != place}
            delta = _delta(sequences[name], moved, before)
        assert residency.apply_delta(name, delta)
        residency.check_integrity()
    match = residency.match(CHAIN)
    anywhere = {name: _leading(set(places)) for name, places in held.items()}
    device = {
        name: _leading({chunk for chunk, place in places.items() if place == "device"}) for name, places in held.items()
    }
    assert {name: match.count(name) for name in "abc"} == {**anywhere, "c": plain}
    assert {name: match.device_count(name) for name in "abc"} == {**device, "c": plain}
    assert match.longest == max(plain, *anywhere.values())
    assert (match.device_counts is None) == (device == anywhere)
    for name in "ab":
        if all(match.token_ends[: anywhere[name]]):
            assert match.fetched_tokens(CHAIN, name) == 10 * (anywhere[name] - device[name])
    assert match.fetched_tokens(CHAIN, "c") == 0
    residency.drop_replica("a")
    residency.check_integrity()
    assert residency.match(CHAIN).count("a") == 0


def test_a_prompt_that_was_sent_counts_as_fetched() -> None:
    """By the time a second one has its turn, the first has brought the blocks to the device; if not, they are below."""
    residency = Residency()
    residency.add_replica("r", exact=True, kv_bytes=0)
    source = residency.source("r")
    assert source is not None
    residency.apply_delta("r", _delta(0, dict.fromkeys((1, 2, 3), "below"), {}, snapshot=True))
    match = residency.match(CHAIN)
    assert (match.count("r"), match.device_count("r")) == (3, 0)
    number = source.sent(CHAIN, match.device_count("r"), 0.0)
    match = residency.match(CHAIN)
    assert (match.count("r"), match.device_count("r")) == (8, 8)
    source.lost(number, CHAIN, 0)
    match = residency.match(CHAIN)
    assert (match.count("r"), match.device_count("r")) == (3, 0)
    residency.check_integrity()
