"""A policy: its filters, its scorer and its picker, run in that order."""

from collections.abc import Sequence
from random import Random

from router.replicas.endpoint import Signal
from router.request import RoutingRequest
from router.scheduling.interface import CandidateT, Decision, Filter, Picker, Scorer


class Profile:
    """Filter → score → pick.

    Attributes:
        needs: the telemetry every replica must provide for this policy to work.

    Args:
        name: what the cluster file calls it.
        filters: run in order, each on what the one before left.
        scorer: weighs what the filters left.
        picker: chooses by the scorer's costs.
    """

    def __init__(self, name: str, *, filters: Sequence[Filter] = (), scorer: Scorer, picker: Picker) -> None:
        self.name = name
        self.filters = tuple(filters)
        self.scorer = scorer
        self.picker = picker
        self.needs = scorer.needs

    def insisting(self, name: str, signals: frozenset[Signal]) -> "Profile":
        """Return this policy under another name, needing `signals` too."""
        other = Profile(name, filters=self.filters, scorer=self.scorer, picker=self.picker)
        other.needs |= signals
        return other

    def decide(
        self, request: RoutingRequest, candidates: Sequence[CandidateT], rng: Random
    ) -> Decision[CandidateT] | None:
        """Choose one of `candidates` (in id order), or None where the filters leave none."""
        for narrow in self.filters:
            candidates = narrow.keep(request, candidates, rng)
        if not candidates:
            return None
        scorer = self.scorer
        costs, terms = scorer.weigh(request, candidates)
        chosen = candidates[self.picker.pick(costs, rng)]
        return Decision(chosen, candidates, costs, self.name, scorer.unit, scorer.terms, terms)
