"""What one replica gets done at its limit, learned while requests waited for it."""

from dataclasses import dataclass
from math import exp

EVIDENCE_S = 10.0
"""Replica-seconds at the limit before the rate is believed."""
_MEMORY_S = 600.0
"""Replica-seconds at the limit after which what was learned before has faded to a third."""

_BELIEF_S = 60.0


@dataclass(frozen=True, slots=True)
class ReplicaRate:
    """Work over the time it took, both fading.

    Attributes:
        work: done at the limit, in tokens.
        replica_s: replica-seconds it took.
    """

    work: float = 0.0
    replica_s: float = 0.0

    def observe(self, work: float, replica_s: float) -> "ReplicaRate":
        """Return this with `work` done in `replica_s` of replicas at their limit; samples may scatter below 0."""
        if replica_s <= 0:
            return self
        keep = exp(-replica_s / _MEMORY_S)
        return ReplicaRate(self.work * keep + work, self.replica_s * keep + replica_s)

    @classmethod
    def believed(cls, per_s: float) -> "ReplicaRate":
        """Return a rate that is thought to be right, and outweighed by a minute or two of evidence; 0: none."""
        return cls(per_s * _BELIEF_S, _BELIEF_S) if per_s > 0 else cls()

    @property
    def per_s(self) -> float:
        """Work a second of one replica; 0: not known yet."""
        return max(0.0, self.work / self.replica_s) if self.replica_s >= EVIDENCE_S else 0.0
