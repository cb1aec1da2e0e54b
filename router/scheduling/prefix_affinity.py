"""Prefix affinity alone: the longest cached prefix wins. With a load bound it is a policy to compare others with."""

from collections.abc import Sequence
from typing import ClassVar

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs

_REQUEST = 1e-6
"""Cost in bytes of each request on a replica: too small to matter but between equals."""


class UncachedBytes:
    """A candidate's cost is the bytes of the prompt that it does not hold; between equals, fewer requests cost less.

    Works without telemetry: the cache contents are then inferred from what was sent to each replica.
    """

    name = "uncached_bytes"
    unit = "bytes"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    terms: ClassVar[Sequence[str]] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's uncached bytes, plus a millionth of a byte for each request on it."""
        chain = request.chain
        count = request.match.count
        costs = [
            chain.size_bytes - chain.prefix_bytes(count(candidate.replica_id)) + _REQUEST * candidate.load
            for candidate in candidates
        ]
        return costs, ()
