"""Bars: figures a benchmark has to reach, printed one a line for people and for CI."""

import operator
from dataclasses import dataclass

_HOLDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure and what it has to be.

    Attributes:
        name: without blanks; stable from run to run.
        value: what was measured.
        op: `<=`, `>=`, `<` or `>`.
        bound: what it is compared with.
        aim: what we would like to reach beyond the bound; information only.
    """

    name: str
    value: float
    op: str
    bound: float
    aim: float | None = None

    @property
    def holds(self) -> bool:
        """The figure reaches its bound; a figure that is not a number doesn't."""
        return bool(_HOLDS[self.op](self.value, self.bound))

    def line(self) -> str:
        """Return `BAR <name> <value> <op> <bound> ok|short`."""
        return f"BAR {self.name} {self.value:.4g} {self.op} {self.bound:g} {'ok' if self.holds else 'short'}"


def report_bars(bars: list[Bar]) -> int:
    """Print every bar; return the exit code: 0 if all hold, else 1."""
    for bar in bars:
        print(bar.line(), flush=True)
    return 0 if all(bar.holds for bar in bars) else 1
