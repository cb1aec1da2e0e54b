"""Work that one replica gets done a second at its limit, learned while requests waited for it."""

from dataclasses import dataclass, field

from cluster.autoscaling.ewma import Ewma, kept

EVIDENCE_S = 10.0
"""Replica-seconds at the limit below which the rate is not believed."""
_MEMORY_S = 600.0
"""Replica-seconds at the limit after which what was learned before has faded to a third."""
_BELIEF_S = 60.0
"""Replica-seconds that an assumed rate weighs as much as."""


@dataclass(frozen=True, slots=True)
class ReplicaRate:
    """Work done over the replica-seconds it took, both fading.

    Attributes:
        seen: work at the limit, in tokens, weighed by replica-seconds.
    """

    seen: Ewma = field(default_factory=Ewma)

    def observe(self, work: float, replica_s: float) -> "ReplicaRate":
        """Return this with `work` done in `replica_s` of replicas at their limit; samples may scatter below 0."""
        if replica_s <= 0:
            return self
        return ReplicaRate(self.seen.observed(work, replica_s, kept(replica_s, _MEMORY_S)))

    @classmethod
    def believed(cls, per_s: float) -> "ReplicaRate":
        """Return an assumed rate, which a minute or two of evidence outweighs; 0: none."""
        return cls(Ewma(per_s * _BELIEF_S, _BELIEF_S)) if per_s > 0 else cls()

    @property
    def per_s(self) -> float:
        """Work a second of one replica; 0: not known yet."""
        return max(0.0, self.seen.mean) if self.seen.weight >= EVIDENCE_S else 0.0
