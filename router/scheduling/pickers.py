"""Pickers: each picks one candidate by its cost."""

from collections.abc import Sequence
from random import Random


class Lowest:
    """Picks the lowest cost; the generator breaks ties."""

    name = "lowest"

    def pick(self, costs: Sequence[float], rng: Random) -> int:
        """Return the position of one of the lowest costs."""
        best = min(costs)
        first = costs.index(best)
        if costs.count(best) == 1:
            return first
        return rng.choice([position for position, cost in enumerate(costs) if cost == best])


class Rotation:
    """Picks each position in turn and ignores costs."""

    name = "rotation"

    def __init__(self) -> None:
        self._turn = -1

    def pick(self, costs: Sequence[float], rng: Random) -> int:
        """Return the position after the last one, wrapping around."""
        del rng
        self._turn = (self._turn + 1) % len(costs)
        return self._turn
