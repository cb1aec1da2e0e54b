"""Filters: which candidates are weighed at all."""

from collections.abc import Sequence
from math import ceil
from random import Random
from typing import Final

from router.request import RoutingRequest
from router.scheduling.interface import CandidateT


class RandomSample:
    """Keeps `size` candidates drawn at random, in id order.

    With two it is nearly as good as weighing all, and gateways whose load reports are equally old do not all pick the
    same replica (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

    Args:
        size: number of candidates to keep, 1 or more.

    Raises:
        ValueError: `size` is below 1.
    """

    name = "random_sample"

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a sample of {size} candidates leaves none to pick from")
        self._size = size

    def keep(self, request: RoutingRequest, candidates: Sequence[CandidateT], rng: Random) -> Sequence[CandidateT]:
        """Return at most `size` of the candidates."""
        del request
        count = len(candidates)
        if count <= self._size:
            return candidates
        return [candidates[position] for position in sorted(rng.sample(range(count), self._size))]


LOAD_BOUND: Final = 1.25
"""Highest load of a replica, as a multiple of the mean. With 1.25 few keys move and the load is nearly even (Mirrokni,
Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018)."""


class BoundedLoad:
    """Keeps the candidates whose load, with this request, is at most `bound` times the mean load, rounded up.

    At least one candidate always is; with nothing running, all are.

    Args:
        bound: the multiple, 1 or more.

    Raises:
        ValueError: `bound` is below 1.
    """

    name = "bounded_load"

    def __init__(self, bound: float = LOAD_BOUND) -> None:
        if bound < 1.0:
            raise ValueError(f"a bound of {bound} times the mean load leaves none to pick from; 1 or more does")
        self._bound = bound

    def keep(self, request: RoutingRequest, candidates: Sequence[CandidateT], rng: Random) -> Sequence[CandidateT]:
        """Return the candidates whose load in requests, this one included, is within the bound."""
        del request, rng
        loads = [candidate.load for candidate in candidates]
        if not loads:
            return candidates
        most = ceil(self._bound * (sum(loads) + 1) / len(loads))
        return [candidate for candidate, load in zip(candidates, loads, strict=True) if load < most]
