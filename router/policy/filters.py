"""Filters: which candidates may be weighed at all."""

from collections.abc import Sequence
from random import Random

from router.request import RoutingRequest
from router.snapshot import ReplicaSnapshot


class RandomSample:
    """Keeps `size` candidates drawn at random, in id order.

    Weighing two of many is nearly as good as weighing all, and gateways that see equally old loads do not all rush to
    the same replica (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    """

    name = "random_sample"

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a sample of {size} candidates leaves none to pick from")
        self._size = size

    def keep(
        self, request: RoutingRequest, candidates: Sequence[ReplicaSnapshot], rng: Random
    ) -> Sequence[ReplicaSnapshot]:
        """Return at most `size` of the candidates."""
        del request
        count = len(candidates)
        if count <= self._size:
            return candidates
        return [candidates[position] for position in sorted(rng.sample(range(count), self._size))]
