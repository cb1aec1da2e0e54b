"""Interleaved rounds: every contestant takes its turn in each, so that a machine's mood falls on all alike."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Figure:
    """One figure of one contestant over the rounds.

    Attributes:
        unit: what it is counted in.
        rounds: one value a round.
    """

    unit: str
    rounds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle value: one disturbed round does not move it."""
        return statistics.median(self.rounds)

    @property
    def lowest(self) -> float:
        """The lowest value: of CPU time the one that other work on the machine disturbed least."""
        return min(self.rounds)

    def as_json(self) -> dict[str, object]:
        """Return median, extremes and every round."""
        return {
            "unit": self.unit,
            "median": self.median,
            "min": min(self.rounds),
            "max": max(self.rounds),
            "rounds": self.rounds,
        }


Figures = dict[str, dict[str, Figure]]
"""Contestant → name of the figure → figure."""


def interleaved(
    names: Sequence[str], rounds: int, measure: Callable[[str, int], dict[str, tuple[float, str]]]
) -> Figures:
    """Run `rounds` rounds and one before that does not count.

    Args:
        names: the contestants; each round starts with another one.
        rounds: how many rounds count.
        measure: called with a contestant and the round (0: warm-up); returns value and unit by name of the figure.
    """
    figures: Figures = {name: {} for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            for figure, (value, unit) in measure(name, turn).items():
                if turn:
                    figures[name].setdefault(figure, Figure(unit)).rounds.append(value)
    return figures
