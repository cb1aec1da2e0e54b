"""A lookup sees claims that wait in the write buffer exactly as it sees claims in the index."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.prefix_cache.index import PrefixIndex
from router.prefix_cache.write_buffer import FLUSH_CHUNKS, IndexWriteBuffer
from router.prompt.chunk_chain import Hashes

REPLICAS = ("a", "b", "c")


def _chain(path: Sequence[int]) -> Hashes:
    """Return the hashes of a prompt; each stands for the whole path up to it, as in a real chain."""
    hashes = []
    link = 1
    for step in path:
        link = (link * 0x9E3779B97F4A7C15 + step + 1) % 2**64 or 1
        hashes.append(link)
    return np.array(hashes, np.uint64)


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=9).map(_chain)
steps = st.lists(st.tuples(st.sampled_from(["send", "look", "flush"]), st.sampled_from(REPLICAS), prompts), max_size=60)


@given(steps)
def test_waiting_claims_cannot_be_told_from_written_ones(steps: list[tuple[str, str, Hashes]]) -> None:
    """After any sends, a prompt matches as if each claim had been written to the index at once."""
    index, plain = PrefixIndex(), PrefixIndex()
    for replica in REPLICAS:
        index.add_replica(replica)
        plain.add_replica(replica)
    buffer = IndexWriteBuffer(index)
    for what, replica, hashes in steps:
        match, expected = buffer.match(hashes), plain.match(hashes)
        assert [match.count(name) for name in REPLICAS] == [expected.count(name) for name in REPLICAS]
        if what == "send" and match.count(replica) < len(hashes):
            new = hashes[match.count(replica) :]
            buffer.claim(replica, new)
            plain.claim(replica, new, distinct=True)
        elif what == "flush":
            buffer.flush()
    buffer.flush()
    index.check_integrity()
    assert [index.claims(name) for name in REPLICAS] == [plain.claims(name) for name in REPLICAS]


def test_a_batch_is_written_when_it_is_large_enough() -> None:
    """The buffer is bounded: it writes itself to the index at `FLUSH_CHUNKS`."""
    index = PrefixIndex()
    index.add_replica("a")
    buffer = IndexWriteBuffer(index)
    buffer.claim("a", np.arange(1, FLUSH_CHUNKS, dtype=np.uint64))
    assert index.claims("a") == 0
    buffer.claim("a", np.array([FLUSH_CHUNKS], np.uint64))
    assert index.claims("a") == FLUSH_CHUNKS
