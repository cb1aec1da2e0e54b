"""The contract of a routing policy: filter → score → pick, synchronous, replayable.

A policy is given the request, the candidates in id order and a random generator; it reads no clock, does no I/O and
touches no globals. Ties are broken by the generator, so a run with the same seed makes the same choices.
"""

from collections.abc import Sequence
from random import Random
from typing import Generic, Protocol, TypeVar

import msgspec

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest

CandidateT = TypeVar("CandidateT", bound=ReplicaEstimator)
"""A replica that may be picked, with what is expected of it."""

Costs = tuple[list[float], Sequence[Sequence[float]]]
"""One cost for each candidate, in their order, and the terms that each is the sum of; () where it is one thing."""


class Filter(Protocol):
    """Narrows the candidates. May return an empty list: then no replica can take the request."""

    name: str

    def keep(self, request: RoutingRequest, candidates: Sequence[CandidateT], rng: Random) -> Sequence[CandidateT]:
        """Return the candidates that stay, in their order."""
        ...


class Scorer(Protocol):
    """Gives each candidate a cost; the lowest is best. Changes nothing.

    Attributes:
        name: what it is called.
        unit: what the cost is counted in; the default unit of this project is seconds.
        needs: the telemetry every candidate must provide.
        terms: names of the terms that a cost is the sum of, in their order; empty where it is one thing.
    """

    name: str
    unit: str
    needs: frozenset[Signal]
    terms: Sequence[str]

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's cost and its terms."""
        ...


class Picker(Protocol):
    """Chooses one candidate by cost."""

    name: str

    def pick(self, costs: Sequence[float], rng: Random) -> int:
        """Return the position of the choice; there is at least one cost."""
        ...


class Decision(msgspec.Struct, Generic[CandidateT], gc=False):
    """What a policy chose and what it weighed.

    Attributes:
        replica: the choice.
        candidates: the replicas that were scored, in id order.
        costs: their costs, in the same order, in the scorer's unit.
        policy: the policy's name.
        unit: what costs are counted in.
        term_names: what the costs are sums of; empty where a cost is one thing.
        terms: for each candidate, in the same order, the terms of its cost, in the order of `term_names`.
    """

    replica: CandidateT
    candidates: Sequence[CandidateT]
    costs: Sequence[float]
    policy: str
    unit: str
    term_names: Sequence[str] = ()
    terms: Sequence[Sequence[float]] = ()
