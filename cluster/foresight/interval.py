"""Intervals that hold for four of five: by how much held-back measurements differed from what was foreseen."""

import math
from dataclasses import dataclass
from enum import StrEnum

from cluster.step_time.fitted import SPREADS


class Quantity(StrEnum):
    """What is foreseen."""

    TOKENS_PER_S = "tokens_per_s"
    TPOT = "tpot"
    TTFT = "ttft"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A number that is foreseen, and the interval that holds four of five measurements.

    Attributes:
        value: the number.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float

    def holds(self, measured: float) -> bool:
        """Tell whether a measurement lies within the interval."""
        return self.low <= measured <= self.high


def foreseen(value: float, quantity: Quantity, engine: str, kind: str = "together") -> Foreseen:
    """Return a number with its interval.

    Args:
        value: the number.
        quantity: what it is.
        engine: the engine.
        kind: `together`, or `apart` where prompts and answers are computed by different replicas.
    """
    factor = math.exp(spread(quantity, engine, kind))
    return Foreseen(value, value / factor, value * factor)


def spread(quantity: Quantity, engine: str, kind: str = "together") -> float:
    """Return the logarithm of the factor by which four of five measurements differ at most."""
    by_engine = SPREADS[kind]
    return by_engine.get(engine, by_engine["any"])[quantity.value]
