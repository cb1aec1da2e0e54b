"""Learns the work a second that one replica completes at its limit, from times when requests waited for it."""

from dataclasses import dataclass
from math import exp

EVIDENCE_S = 10.0
"""Replica-seconds at the limit before the rate counts as known."""
_MEMORY_S = 600.0
"""Replica-seconds at the limit after which the weight of earlier samples has fallen to about a third (1 / e)."""

_BELIEF_S = 60.0
"""Replica-seconds of evidence that an operator's own figure counts as."""


@dataclass(frozen=True, slots=True)
class ReplicaRate:
    """Work and the time it took, both with decaying weight.

    Attributes:
        work: work done at the limit, tokens.
        replica_s: replica-seconds that the work took.
    """

    work: float = 0.0
    replica_s: float = 0.0

    def observe(self, work: float, replica_s: float) -> "ReplicaRate":
        """Return a copy with a sample added.

        Args:
            work: work done, tokens; noise may bring a sample below 0.
            replica_s: replica-seconds at the limit that it took; a sample of 0 or less is ignored.
        """
        if replica_s <= 0:
            return self
        keep = exp(-replica_s / _MEMORY_S)
        return ReplicaRate(self.work * keep + work, self.replica_s * keep + replica_s)

    @classmethod
    def believed(cls, per_s: float) -> "ReplicaRate":
        """Return an assumed rate of `per_s` work a second, which a minute or two of evidence outweighs; 0: none."""
        return cls(per_s * _BELIEF_S, _BELIEF_S) if per_s > 0 else cls()

    @property
    def per_s(self) -> float:
        """Work a second of one replica at its limit; 0: not known yet."""
        return max(0.0, self.work / self.replica_s) if self.replica_s >= EVIDENCE_S else 0.0
