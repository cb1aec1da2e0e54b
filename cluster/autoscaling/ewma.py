"""A mean that forgets: one weighted sum and the weight behind it, both fading."""

from math import exp
from typing import NamedTuple


class Ewma(NamedTuple):
    """An exponentially weighted mean. What is observed counts by its weight; what was before is faded first.

    Weigh by 1 and fade by a constant for a mean over events (a factor of 0.99 remembers about the last hundred). Weigh
    by seconds and fade by `kept` of those seconds for a rate over time: `total` is then what was counted.

    Attributes:
        total: weighted sum of what was observed.
        weight: sum of the weights.
    """

    total: float = 0.0
    weight: float = 0.0

    @property
    def mean(self) -> float:
        """Total over weight; 0 before the first observation."""
        return self.total / self.weight if self.weight > 0 else 0.0

    def observed(self, total: float, weight: float, keep: float) -> "Ewma":
        """Return the mean with `total`, already weighted, and its `weight` added; `keep` of the past stays, 0 to 1."""
        return Ewma(self.total * keep + total, self.weight * keep + weight)


def kept(passed: float, memory: float) -> float:
    """Return the share that stays of what was known `passed` ago: after `memory`, in the same unit, a third."""
    return exp(-passed / memory)
