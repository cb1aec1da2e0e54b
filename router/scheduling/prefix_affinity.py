"""The longest cached prefix wins: affinity alone. Under a load bound it is a policy to compare others with."""

from collections.abc import Sequence

from router.estimator.model_estimator import ModelEstimator
from router.replicas.snapshot import ReplicaSnapshot, Signal
from router.request import RoutingRequest

_REQUEST = 1e-6


class UncachedBytes:
    """Bytes of the prompt that a replica does not hold; between equals, the one with fewer requests.

    Works without telemetry: what a replica holds is then inferred from what was sent there.
    """

    name = "uncached_bytes"
    unit = "bytes"
    needs: frozenset[Signal] = frozenset()

    def __init__(self, outlook: ModelEstimator) -> None:
        self._outlook = outlook

    def costs(self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot]) -> list[float]:
        """Return each candidate's uncached bytes, and a millionth for each request on it."""
        chain = request.chain
        count = self._outlook.match(chain).count
        return [
            chain.size_bytes - chain.prefix_bytes(count(candidate.replica_id)) + _REQUEST * candidate.load
            for candidate in candidates
        ]
