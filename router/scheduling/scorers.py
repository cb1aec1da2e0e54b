"""Scorers that look at load alone, or at nothing; the lowest cost is best."""

from collections.abc import Sequence
from typing import ClassVar

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs


class Even:
    """Every candidate costs 0, for pickers that ignore costs."""

    name = "even"
    unit = "none"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    terms: ClassVar[Sequence[str]] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return 0 for each candidate."""
        del request
        return [0.0] * len(candidates), ()


class Load:
    """A candidate's cost is its requests: those of all gateways as last reported, but at least this gateway's own.

    Works without telemetry: then only this gateway's own requests count.
    """

    name = "load"
    unit = "requests"
    needs: ClassVar[frozenset[Signal]] = frozenset()
    terms: ClassVar[Sequence[str]] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return the number of requests on each candidate."""
        del request
        return [float(candidate.load) for candidate in candidates], ()
