"""What was expected of a request when it was sent to a replica, and the tokens that its answer says it used."""

import msgspec

from router.estimator.replica_estimator import ReplicaEstimator
from router.prompt.chunk_chain import ChunkChain


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counts from an answer's `usage`; None: the answer did not say.

    Attributes:
        prompt_tokens: tokens of the prompt.
        cached_tokens: prompt tokens that the engine had cached.
        completion_tokens: tokens generated.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None


class Expectation(msgspec.Struct, eq=False, gc=False):
    """One request on one replica, from the pick to its end.

    Attributes:
        replica: the replica it was sent to.
        chain: its prompt's chunks.
        matched_chunks: leading chunks of its prompt that the replica was expected to hold.
        matched_bytes: bytes of these chunks.
        matched_tokens: tokens of these chunks.
        tokens: estimated prompt tokens.
        uncached_tokens: prompt tokens that the replica was expected to prefill.
        ahead_tokens: prompt tokens that waited on the replica before it.
        running: sequences that the replica was decoding.
        sent_s: when it was sent, monotonic seconds.
        number: its number among the requests this gateway sent there, from 1; 0: it is not counted there.
        prompt_number: its number in the replica's `ReplicaSource`.
        shares: hash of the last of its chunks that any replica held; 0: none held any.
        prefilled_s: when its first token came, monotonic seconds; None: it has not come.
        ended: whether its answer came to its end, or it was lost.
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
