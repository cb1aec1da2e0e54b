"""What was expected of one request on one replica when it was sent there, and what its answer said it used."""

import msgspec

from router.estimator.replica_estimator import ReplicaEstimator
from router.prompt.chunk_chain import ChunkChain


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens an answer's `usage` names; None where it does not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


class Expectation(msgspec.Struct, eq=False, gc=False):
    """One request on one replica, from the pick to its end.

    Attributes:
        replica: where it was sent.
        chain: its prompt.
        matched_chunks: leading chunks of its prompt that the replica was expected to hold.
        matched_bytes: the same in bytes.
        matched_tokens: the same in tokens.
        tokens: prompt tokens, as best known.
        uncached_tokens: those expected to be prefilled.
        ahead_tokens: tokens that waited on the replica before it.
        running: sequences that were being decoded there.
        sent_s: when it was sent.
        number: its number among those this gateway sent there.
        prompt_number: its number in what is known of the replica's cache.
        shares: hash of its last chunk that any replica held; 0: none.
        prefilled_s: when its first token came; None before.
        ended: its answer came to its end, or it was lost.
    """

    replica: ReplicaEstimator
    chain: ChunkChain
    matched_chunks: int
    matched_bytes: int
    matched_tokens: float
    tokens: float
    uncached_tokens: float
    ahead_tokens: float
    running: int
    sent_s: float
    number: int = 0
    prompt_number: int = 0
    shares: int = 0
    prefilled_s: float | None = None
    ended: bool = False
