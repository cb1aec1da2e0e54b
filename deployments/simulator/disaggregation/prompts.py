"""Requests whose prompts share blocks, and what they are held to."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.simulator.disaggregation.kv_memory import BLOCK_TOKENS
from deployments.simulator.trace import TOKEN_BYTES, TraceRequest, chunk_chain
from router.prompt.chunk_chain import ChunkChain


@dataclass(frozen=True, slots=True)
class LatencyLimits:
    """What a request is held to.

    Attributes:
        ttft_s: longest time to its first token, seconds.
        tpot_s: longest mean time between its tokens, seconds.
    """

    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """One request of a load.

    Attributes:
        at: when it comes, in units of the load's mean time between requests, from the start of the load.
        prompt_tokens: tokens of its prompt.
        output_tokens: tokens of its answer, 1 or more.
        chain: hashes of its prompt's full blocks of `BLOCK_TOKENS` tokens; equal ones stand for equal prefixes.
        limits: what it is held to.
        kind: name of its kind of work.
    """

    at: float
    prompt_tokens: int
    output_tokens: int
    chain: ChunkChain
    limits: LatencyLimits
    kind: str = ""


def block_chain(hashes: Sequence[int], tokens: int, block_tokens: int = BLOCK_TOKENS) -> ChunkChain:
    """Return a prompt's chain; `hashes` are those of its full blocks, 64 bits and not 0 each."""
    ends = [(block + 1) * block_tokens * TOKEN_BYTES for block in range(len(hashes))]
    return ChunkChain(list(hashes), ends, tokens * TOKEN_BYTES, tokens=tokens)


def recorded_chain(request: TraceRequest, seed: int) -> ChunkChain:
    """Return a recorded prompt's chain of full blocks: engines cache no others."""
    full = request.input_length // BLOCK_TOKENS
    return block_chain(chunk_chain(request, seed).hashes[:full], request.input_length)
