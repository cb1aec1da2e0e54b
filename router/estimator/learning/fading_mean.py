"""A mean that forgets old values and changes in place: `cluster.autoscaling.ewma.Ewma` for the path of a request."""

from typing import final


@final
class FadingMean:
    """An exponentially weighted mean. Each observation first fades what was observed before, then adds to it.

    Attributes:
        total: weighted sum of the observed values.
        weight: sum of the weights.
    """

    __slots__ = ("total", "weight")

    def __init__(self, total: float = 0.0, weight: float = 0.0) -> None:
        self.total = total
        self.weight = weight

    @property
    def mean(self) -> float:
        """`total` divided by `weight`; 0 before the first observation."""
        return self.total / self.weight if self.weight > 0.0 else 0.0

    def observe(self, total: float, weight: float, keep: float) -> None:
        """Add an observation.

        Args:
            total: the observed value times its weight.
            weight: the observation's weight.
            keep: share of all earlier observations that stays, 0 to 1.
        """
        self.total = self.total * keep + total
        self.weight = self.weight * keep + weight
