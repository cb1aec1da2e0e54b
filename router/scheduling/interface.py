"""The contract of a routing policy: filter → score → pick, synchronous, replayable.

A policy is given the request, the candidates in id order and a random generator; it reads no clock, does no I/O and
touches no globals. Ties are broken by the generator, so a run with the same seed makes the same choices.
"""

from collections.abc import Sequence
from random import Random
from typing import Protocol, runtime_checkable

import msgspec

from router.replicas.snapshot import ReplicaSnapshot, Signal
from router.request import RoutingRequest


class Filter(Protocol):
    """Narrows the candidates. May return an empty list: then no replica can take the request."""

    name: str

    def keep(
        self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot], rng: Random
    ) -> Sequence[ReplicaSnapshot]:
        """Return the candidates that stay, in their order."""
        ...


class Scorer(Protocol):
    """Gives each candidate a cost; the lowest is best.

    Attributes:
        unit: what the cost is counted in; the default unit of this project is seconds.
        needs: the telemetry every candidate must provide.
    """

    name: str
    unit: str
    needs: frozenset[Signal]

    def costs(self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot]) -> list[float]:
        """Return one cost a candidate, in their order."""
        ...


@runtime_checkable
class ExplainedScorer(Protocol):
    """A scorer whose costs are sums: it keeps the terms of its last `costs`, for the decision journal.

    Attributes:
        terms: the terms' names, in the order they are summed up.
        last_terms: for each candidate of the last `costs`, in their order, its terms, in the scorer's unit.
    """

    terms: Sequence[str]
    last_terms: Sequence[Sequence[float]]


class Picker(Protocol):
    """Chooses one candidate by cost."""

    name: str

    def pick(self, candidates: Sequence[ReplicaSnapshot], costs: Sequence[float], rng: Random) -> int:
        """Return the position of the choice; `candidates` is never empty."""
        ...


class Decision(msgspec.Struct, gc=False):
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

    replica: ReplicaSnapshot
    candidates: Sequence[ReplicaSnapshot]
    costs: Sequence[float]
    policy: str
    unit: str
    term_names: Sequence[str] = ()
    terms: Sequence[Sequence[float]] = ()
