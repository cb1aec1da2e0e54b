"""A mean that forgets old values: a weighted sum and the sum of the weights, both of which fade."""

from math import exp
from typing import NamedTuple


class Ewma(NamedTuple):
    """An exponentially weighted mean. Each observation first fades what was observed before, then adds to it.

    For a mean over events, give each event the weight 1 and fade by a constant: with 0.99 about the last hundred count.
    For a rate over time, give each observation its length in seconds as weight, what was counted as `total`, and fade
    by `kept` of those seconds.

    Attributes:
        total: weighted sum of the observed values.
        weight: sum of the weights.
    """

    total: float = 0.0
    weight: float = 0.0

    @property
    def mean(self) -> float:
        """`total` divided by `weight`; 0 before the first observation."""
        return self.total / self.weight if self.weight > 0 else 0.0

    def observed(self, total: float, weight: float, keep: float) -> "Ewma":
        """Return the mean with one more observation.

        Args:
            total: the observed value times its weight.
            weight: the observation's weight.
            keep: share of all earlier observations that stays, 0 to 1.
        """
        return Ewma(self.total * keep + total, self.weight * keep + weight)


def kept(passed: float, memory: float) -> float:
    """Return the share of an observation that is left after a time: `exp(-passed / memory)`, about a third at `memory`.

    Args:
        passed: the time since the observation.
        memory: the time constant, in the unit of `passed`.
    """
    return exp(-passed / memory)
