"""Sessions stay where they are: each has its own fixed order of replicas, and few move when replicas change."""

from collections.abc import Sequence
from functools import lru_cache

from xxhash import xxh3_64_intdigest

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs

_WIDE = float(1 << 64)


class Rendezvous:
    """A candidate's place in the session's own order of replicas.

    Rendezvous hashing (Thaler, Ravishankar, 1998): each pair of session and replica has a hash, and the lowest wins.
    When a replica goes, only its own sessions move, each to the next in its order; behind a load filter the same order
    says where a session goes that its own replica has no room for.

    A request without `x-session-id` is placed by the start of its prompt; without one that is understood, by its id.
    """

    name = "rendezvous"
    unit = "none"
    needs: frozenset[Signal] = frozenset()
    terms: Sequence[str] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return for each candidate a number from 0 to 1 that session and replica alone decide."""
        key = _key(request)
        return [xxh3_64_intdigest(key, _replica_seed(candidate.replica_id)) / _WIDE for candidate in candidates], ()


def _key(request: RoutingRequest) -> bytes:
    if request.session:
        return request.session.encode("utf-8", "surrogatepass")
    if len(request.chain):
        return request.chain.hashes[:_PROMPT_CHUNKS].tobytes()
    return request.request_id.encode("utf-8", "surrogatepass")


_PROMPT_CHUNKS = 4
"""About a thousand characters: past most shared greetings, within most first turns."""


@lru_cache(maxsize=4096)
def _replica_seed(replica_id: str) -> int:
    return xxh3_64_intdigest(replica_id.encode())
