"""Reads recorded traffic in the Mooncake format: one JSON object on each line."""

from pathlib import Path

import msgspec
import numpy as np

from cluster.errors import TraceError
from router.prompt.chunk_chain import ChunkChain, Hashes

BLOCK_TOKENS = 512
"""Prompt tokens that one hash id stands for (Mooncake's traces, FAST 2025)."""
TOKEN_BYTES = 4
"""Bytes of prompt assumed for one token. The figure does not matter, as the trace gives exact tokens."""
_MAX_TOKENS = 1 << 40


class TraceRequest(msgspec.Struct, frozen=True):
    """One request of a trace.

    Attributes:
        timestamp: when it came, milliseconds from the start of the trace.
        input_length: prompt tokens.
        output_length: generated tokens.
        hash_ids: one id for each block of `BLOCK_TOKENS` prompt tokens; the last block may be shorter. Two requests
            with an equal id have equal prompts up to the end of that block.
    """

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]


def read_trace(path: Path, limit: int | None = None) -> list[TraceRequest]:
    """Read a trace; return its requests in the order of their timestamps.

    Args:
        path: the file.
        limit: number of requests to read from the start of the file; None: all.

    Raises:
        TraceError: the file cannot be read or is empty, or a line is wrong; the message names the line.
    """
    decoder = msgspec.json.Decoder(TraceRequest)
    requests: list[TraceRequest] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if limit is not None and len(requests) >= limit:
                    break
                if not line.strip():
                    continue
                try:
                    request = decoder.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise TraceError(f"{path}, line {number}: {error}; {_EXPECTED}") from error
                _check(request, path, number)
                requests.append(request)
    except OSError as error:
        raise TraceError(f"the trace {path} cannot be read: {error.strerror or error}") from error
    if not requests:
        raise TraceError(f"{path} has no requests; {_EXPECTED}")
    return sorted(requests, key=lambda request: request.timestamp)


_EXPECTED = (
    'a line should be like {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}'
    f" with one id for each {BLOCK_TOKENS} input tokens"
)


def _check(request: TraceRequest, path: Path, number: int) -> None:
    where = f"{path}, line {number}"
    if not 0 < request.input_length < _MAX_TOKENS or request.output_length < 0:
        raise TraceError(f"{where}: input_length must be 1 or more and output_length 0 or more")
    blocks = -(-request.input_length // BLOCK_TOKENS)
    if len(request.hash_ids) != blocks:
        raise TraceError(
            f"{where}: {request.input_length} input tokens are {blocks} blocks of {BLOCK_TOKENS},"
            f" but there are {len(request.hash_ids)} hash_ids"
        )


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
