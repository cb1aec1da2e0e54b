"""Chains of chunks as values."""

import pickle

from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher


def test_a_chain_can_be_passed_between_processes() -> None:
    """A pickled chain comes back with all its fields, compiled or not: benchmarks pass them on."""
    chain = ChunkHasher(1).of_prompt(Prompt([b"word " * 1_000]), model="m")
    back = pickle.loads(pickle.dumps(chain))  # noqa: S301 - our own bytes
    fields = ("hashes", "ends", "size_bytes", "tokens", "tail", "link")
    assert [getattr(back, field) for field in fields] == [getattr(chain, field) for field in fields]
    assert len(back) > 0
