"""Learns from past starts how many seconds a replica takes to start."""

from dataclasses import dataclass

_KEPT = 16
_QUANTILE = 0.75


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Durations of the last starts.

    Attributes:
        durations_s: seconds from order to ready of the last 16 starts, oldest first.
    """

    durations_s: tuple[float, ...] = ()

    def observe(self, durations_s: tuple[float, ...]) -> "ColdStart":
        """Return a copy with `durations_s` added, in seconds."""
        return ColdStart((self.durations_s + durations_s)[-_KEPT:]) if durations_s else self

    def expected_s(self, first_s: float) -> float:
        """Return the seconds the next start is expected to take: three of four starts took no longer.

        Args:
            first_s: seconds to expect before any start was seen.
        """
        if not self.durations_s:
            return first_s
        ordered = sorted(self.durations_s)
        return ordered[int(_QUANTILE * (len(ordered) - 1) + 0.5)]
