"""A policy: its filters, its scorer and its picker, run in that order."""

from collections.abc import Sequence
from random import Random

from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import MAX_SHOWN, CandidateT, Decision, Filter, Picker, Scorer, cheapest


class Profile:
    """A policy, run as filter → score → pick.

    Args:
        name: the policy's name in the cluster file.
        filters: narrow the candidates, one after the other.
        scorer: gives each remaining candidate a cost.
        picker: picks one by these costs.

    Attributes:
        needs: telemetry that every replica must provide.
    """

    def __init__(self, name: str, *, filters: Sequence[Filter] = (), scorer: Scorer, picker: Picker) -> None:
        self.name = name
        self.filters = tuple(filters)
        self.scorer = scorer
        self.picker = picker
        self.needs = scorer.needs

    def insisting(self, name: str, signals: frozenset[Signal]) -> "Profile":
        """Return this policy under another name, with `signals` among the telemetry it needs."""
        other = Profile(name, filters=self.filters, scorer=self.scorer, picker=self.picker)
        other.needs |= signals
        return other

    def decide(
        self, request: RoutingRequest, candidates: Sequence[CandidateT], rng: Random
    ) -> Decision[CandidateT] | None:
        """Pick one of `candidates`, which are in id order; None: the filters left none."""
        for narrow in self.filters:
            candidates = narrow.keep(request, candidates, rng)
        if not candidates:
            return None
        scorer = self.scorer
        costs, terms = scorer.weigh(request, candidates)
        pick = self.picker.pick(costs, rng)
        shown: list[int] | None = None
        if len(costs) > MAX_SHOWN:
            shown = cheapest(costs, pick)
            if scorer.terms:
                terms = scorer.weigh(request, [candidates[at] for at in shown])[1]
        return Decision(candidates[pick], candidates, costs, self.name, scorer.unit, scorer.terms, terms, shown)
