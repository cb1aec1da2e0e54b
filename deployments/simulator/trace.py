"""A request of a recorded trace, and its prompt as a chain."""

import msgspec
import numpy as np

from router.prompt.chunk_chain import ChunkChain, Hashes

BLOCK_TOKENS = 512
"""Prompt tokens that one hash id stands for (Mooncake's traces, FAST 2025)."""
TOKEN_BYTES = 4
"""Bytes of prompt assumed for one token. The figure does not matter, as the trace gives exact tokens."""


class TraceRequest(msgspec.Struct, frozen=True):
    """One request of a trace.

    Attributes:
        timestamp: when it came, milliseconds from the start of the trace.
        input_length: prompt tokens.
        output_length: generated tokens.
        hash_ids: one id for each block of `BLOCK_TOKENS` prompt tokens; the last block may be shorter. Two requests
            with an equal id have equal prompts up to the end of that block.
        model: the model it asks for; "": it does not say.
        tenant: number of its tenant, from 1; 0: it does not say.
    """

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]
    model: str = ""
    tenant: int = 0


def chunk_chain(request: TraceRequest, seed: int) -> ChunkChain:
    """Return a request's prompt as a chain with one chunk for each block.

    The hash ids, mixed with `seed`, serve as the chunks' hashes: like a hash, an id stands for the whole prefix.
    """
    tokens = request.input_length
    ends = [min((block + 1) * BLOCK_TOKENS, tokens) * TOKEN_BYTES for block in range(len(request.hash_ids))]
    return ChunkChain(
        _mixed(np.array(request.hash_ids, np.int64).view(np.uint64), seed).tolist(),
        ends,
        tokens * TOKEN_BYTES,
        tokens=tokens,
    )


def _mixed(ids: Hashes, seed: int) -> Hashes:
    """Return 64-bit hashes of ids by splitmix64, which is one to one: different ids get different hashes."""
    mixed = ids + np.uint64(seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15 & 0xFFFF_FFFF_FFFF_FFFF)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    mixed[mixed == 0] = 1
    return mixed
