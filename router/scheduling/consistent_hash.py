"""Consistent hashing: each session has its own fixed order of replicas, so few sessions move when replicas change."""

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from xxhash import xxh3_64_intdigest

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs

_WIDE = float(1 << 64)


class Rendezvous:
    """A candidate's cost is a hash of session and replica.

    This is rendezvous hashing (Thaler, Ravishankar, 1998): the replica with the lowest hash gets the session. When a
    replica goes, only its own sessions move, each to the next replica in the session's order. If a load filter has
    removed the session's replica, the request goes to the next one, too.

    A request without `x-session-id` is placed by the start of its prompt; if the prompt is not understood either, by
    the request's id.
    """

    name = "rendezvous"
    unit = "none"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    terms: ClassVar[Sequence[str]] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's hash with the session, from 0 to 1."""
        key = _key(request)
        return [xxh3_64_intdigest(key, _replica_seed(candidate.replica_id)) / _WIDE for candidate in candidates], ()


def _key(request: RoutingRequest) -> bytes:
    if request.session:
        return request.session.encode("utf-8", "surrogatepass")
    if len(request.chain):
        return b"".join(chunk.to_bytes(8, "little") for chunk in request.chain.hashes[:_PROMPT_CHUNKS])
    return request.request_id.encode("utf-8", "surrogatepass")


_PROMPT_CHUNKS = 4
"""Leading chunks that stand for a prompt: about a thousand characters. That is longer than most shared greetings, and
shorter than most first turns."""


@lru_cache(maxsize=4096)
def _replica_seed(replica_id: str) -> int:
    return xxh3_64_intdigest(replica_id.encode())
