"""The contract of a routing policy: filter → score → pick, synchronous, replayable.

A policy gets the request, the candidates in id order and a random generator. It reads no clock, does no I/O and touches
no globals. The generator breaks ties, so a run with the same seed makes the same choices.
"""

from collections.abc import Sequence
from random import Random
from typing import ClassVar, Final, Generic, Protocol, TypeVar, final

from router.estimator.replica_estimator import ReplicaEstimator
from router.replicas.endpoint import Signal
from router.request import RoutingRequest

CandidateT = TypeVar("CandidateT", bound=ReplicaEstimator)
"""Type of the replicas to pick from, with what is expected of each."""

Costs = tuple[list[float], Sequence[Sequence[float]]]
"""One cost for each candidate, in their order, and for each the terms that its cost is the sum of; (): costs have none,
or there are over `MAX_SHOWN` candidates."""

MAX_SHOWN: Final = 16
"""Candidates whose terms are kept for `rackserve why`: with more, those of the cheapest and of the pick. With 256
replicas making all terms takes as long as all else that routing does."""


class Filter(Protocol):
    """Narrows the candidates. If none stays, no replica can take the request.

    Attributes:
        name: the filter's name.
    """

    name: str

    def keep(self, request: RoutingRequest, candidates: Sequence[CandidateT], rng: Random) -> Sequence[CandidateT]:
        """Return the candidates that stay, in their order."""
        ...


class Scorer(Protocol):
    """Gives each candidate a cost; the lowest is best. Changes no state.

    Attributes:
        name: the scorer's name.
        unit: unit of the costs; this project's default is seconds.
        needs: telemetry that every candidate must provide.
        terms: names of the terms that a cost is the sum of, in their order; empty: a cost has no terms.
    """

    name: str
    unit: str
    needs: ClassVar[frozenset[Signal]]
    terms: ClassVar[Sequence[str]]

    def weigh(self, request: RoutingRequest, candidates: Sequence[ReplicaEstimator]) -> Costs:
        """Return each candidate's cost, and its terms where there are at most `MAX_SHOWN` candidates."""
        ...


class Picker(Protocol):
    """Picks one candidate by cost.

    Attributes:
        name: the picker's name.
    """

    name: str

    def pick(self, costs: Sequence[float], rng: Random) -> int:
        """Return the position of the pick in `costs`, which has at least one cost."""
        ...


@final
class Decision(Generic[CandidateT]):
    """A policy's pick for one request, with all costs that it weighed.

    Attributes:
        replica: the replica picked.
        candidates: the replicas weighed, in id order.
        costs: each candidate's cost, in the same order.
        policy: the policy's name.
        unit: unit of the costs.
        term_names: names of the terms that a cost is the sum of; empty: a cost has no terms.
        terms: the terms of each candidate that is shown, in the order of `term_names`; empty where costs have none.
        shown: positions of the candidates that are shown, in id order; None: all are.
    """

    __slots__ = ("candidates", "costs", "policy", "replica", "shown", "term_names", "terms", "unit")

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        replica: CandidateT,
        candidates: Sequence[CandidateT],
        costs: Sequence[float],
        policy: str,
        unit: str,
        term_names: Sequence[str] = (),
        terms: Sequence[Sequence[float]] = (),
        shown: list[int] | None = None,
    ) -> None:
        self.replica = replica
        self.candidates = candidates
        self.costs = costs
        self.policy = policy
        self.unit = unit
        self.term_names = term_names
        self.terms = terms
        self.shown = shown


def cheapest(costs: list[float], pick: int) -> list[int]:
    """Return the positions of the `MAX_SHOWN` lowest costs, in their order; `pick` is always one of them."""
    limit = sorted(costs)[MAX_SHOWN - 1]
    shown = [at for at, cost in enumerate(costs) if cost < limit]
    shown += [at for at, cost in enumerate(costs) if cost == limit][: MAX_SHOWN - len(shown)]
    if pick not in shown:
        shown[-1] = pick
    return sorted(shown)
