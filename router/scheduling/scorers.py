"""Scorers: what each candidate would cost; the lowest is best."""

from collections.abc import Sequence

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import Costs


class Even:
    """Every candidate costs the same: for pickers that look at no cost."""

    name = "even"
    unit = "none"
    needs: frozenset[Signal] = frozenset()
    terms: Sequence[str] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return zeros."""
        del request
        return [0.0] * len(candidates), ()


class Load:
    """Requests on the replica: all gateways' as last reported, at least this gateway's own reservations.

    Works without telemetry too: then it is this gateway's own requests alone.
    """

    name = "load"
    unit = "requests"
    needs: frozenset[Signal] = frozenset()
    terms: Sequence[str] = ()

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's requests, 0 or more."""
        del request
        return [float(candidate.load) for candidate in candidates], ()
