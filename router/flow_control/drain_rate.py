"""How fast the waiting room empties: work dispatched a second for each replica while requests wait."""

from math import exp

EVIDENCE_S = 1.0
"""Less waiting than this tells nothing of the rate."""


class DrainRate:
    """Work dispatched over the time in which something waited, with what is old fading away.

    An idle hour changes nothing, nor does the time in which there is no replica; a queue that stands still makes the
    rate fall from that moment on; a replica that joins raises it at once.

    Args:
        memory_s: what was seen more than a few times this long ago, in time with requests waiting, no longer counts.
    """

    def __init__(self, memory_s: float = 20.0) -> None:
        self._memory_s = memory_s
        self._work = 0.0
        self._busy_s = 0.0
        self._replica_s = 0.0
        self._replicas = 0
        self._since_s: float | None = None

    def began(self, now_s: float) -> None:
        """The first request waits."""
        self._since_s = now_s

    def drained(self, work: float, now_s: float) -> None:
        """A request that waited was dispatched."""
        self._pass(now_s)
        self._work += work

    def ended(self, now_s: float) -> None:
        """Nothing waits any more."""
        self._pass(now_s)
        self._since_s = None

    def set_replicas(self, replicas: int, now_s: float) -> None:
        """From now on so many replicas take requests."""
        self._pass(now_s)
        self._replicas = replicas

    def per_s(self, now_s: float) -> float:
        """Return work a second of all replicas; 0: there is none, or it is too early to tell."""
        self._pass(now_s)
        if self._busy_s < EVIDENCE_S:
            return 0.0
        return self._work / self._replica_s * self._replicas

    def _pass(self, now_s: float) -> None:
        if self._since_s is None:
            return
        pending_s = now_s - self._since_s
        self._since_s = now_s
        if pending_s > 0 and self._replicas:
            keep = exp(-pending_s / self._memory_s)
            self._work *= keep
            self._busy_s = self._busy_s * keep + pending_s
            self._replica_s = self._replica_s * keep + pending_s * self._replicas
