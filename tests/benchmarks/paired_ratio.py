"""The ratio of two ways of doing the same, taken in pairs until it is known well enough."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

_TWO_SIDED_95 = 1.96


@dataclass(slots=True)
class PairedRatio:
    """Ratios of pairs, each pair measured back to back, so that what disturbs one disturbs the other as well.

    Attributes:
        ratios: one a pair.
    """

    ratios: list[float] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The geometric mean: twice as fast and half as fast cancel out."""
        return math.exp(statistics.fmean(map(math.log, self.ratios)))

    @property
    def error(self) -> float:
        """Half the width of the 95 % interval, as a share of the value; infinite below three pairs."""
        if len(self.ratios) < 3:
            return math.inf
        return _TWO_SIDED_95 * statistics.stdev(map(math.log, self.ratios)) / math.sqrt(len(self.ratios))


def measure_pairs(
    pair: Callable[[int], float], *, least: int, most: int, error: float, progress: Callable[[PairedRatio], None]
) -> PairedRatio:
    """Measure pairs until the ratio's error is small enough; when to stop does not look at the ratio itself.

    Args:
        pair: measures pair number n (whose order should alternate) and returns its ratio.
        least: pairs to measure in any case.
        most: pairs after which to give up: the error then tells that the machine was too busy.
        error: the `PairedRatio.error` to reach.
        progress: called after each pair.
    """
    ratio = PairedRatio()
    while len(ratio.ratios) < least or (len(ratio.ratios) < most and ratio.error > error):
        ratio.ratios.append(pair(len(ratio.ratios)))
        progress(ratio)
    return ratio
