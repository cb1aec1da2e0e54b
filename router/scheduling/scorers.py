"""Scorers: what each candidate would cost; the lowest is best."""

from collections.abc import Sequence

from router.replicas.snapshot import ReplicaSnapshot, Signal
from router.request import RoutingRequest


class Even:
    """Every candidate costs the same: for pickers that look at no cost."""

    name = "even"
    unit = "none"
    needs: frozenset[Signal] = frozenset()

    def costs(self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot]) -> list[float]:
        """Return zeros."""
        del request
        return [0.0] * len(candidates)


class Load:
    """Requests on the replica: all gateways' as last reported, at least this gateway's own reservations.

    Works without telemetry too: then it is this gateway's own requests alone.
    """

    name = "load"
    unit = "requests"
    needs: frozenset[Signal] = frozenset()

    def costs(self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot]) -> list[float]:
        """Return each candidate's requests, 0 or more."""
        del request
        return [float(candidate.load) for candidate in candidates]
