"""How long a replica takes to start, learned from real starts."""

from dataclasses import dataclass

_KEPT = 16
_QUANTILE = 0.75


@dataclass(frozen=True, slots=True)
class ColdStart:
    """The last starts' durations.

    Attributes:
        durations_s: from order to ready, oldest first, the last 16.
    """

    durations_s: tuple[float, ...] = ()

    def observe(self, durations_s: tuple[float, ...]) -> "ColdStart":
        """Return this with more starts."""
        return ColdStart((self.durations_s + durations_s)[-_KEPT:]) if durations_s else self

    def expected_s(self, first_s: float) -> float:
        """Return how long the next start will take: three of four took no longer; `first_s` before any was seen."""
        if not self.durations_s:
            return first_s
        ordered = sorted(self.durations_s)
        return ordered[int(_QUANTILE * (len(ordered) - 1) + 0.5)]
