"""The longest cached prefix wins: affinity alone. Under a load bound it is a policy to compare others with."""

from collections.abc import Sequence

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs

_REQUEST = 1e-6
"""Bytes that a request on the replica weighs: it only decides between equals."""


class UncachedBytes:
    """Bytes of the prompt that a replica does not hold; between equals, the one with fewer requests.

    Works without telemetry: what a replica holds is then inferred from what was sent there.
    """

    name = "uncached_bytes"
    unit = "bytes"
    needs: frozenset[Signal] = frozenset()
    terms: Sequence[str] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's uncached bytes, and a millionth for each request on it."""
        chain = request.chain
        count = request.match.count
        costs = [
            chain.size_bytes - chain.prefix_bytes(count(candidate.replica_id)) + _REQUEST * candidate.load
            for candidate in candidates
        ]
        return costs, ()
