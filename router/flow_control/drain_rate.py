"""How fast the waiting room empties: work dispatched a second for each replica while requests wait."""

from cluster.autoscaling.ewma import Ewma, kept

EVIDENCE_S = 1.0
"""Seconds with requests waiting below which the rate is not known."""


class DrainRate:
    """Work dispatched over the replica-seconds in which something waited; what is old fades.

    Time in which nothing waits, or in which there is no replica, changes nothing. A queue that stands still lowers the
    rate from that moment on; a replica that joins raises it at once.

    Args:
        memory_s: seconds with requests waiting after which what was seen has faded to a third.
    """

    def __init__(self, memory_s: float = 20.0) -> None:
        self._memory_s = memory_s
        self._seen = Ewma()
        self._busy_s = 0.0
        self._replicas = 0
        self._since_s: float | None = None

    def began(self, now_s: float) -> None:
        """The first request waits."""
        self._since_s = now_s

    def drained(self, work: float, now_s: float) -> None:
        """A request that waited was dispatched."""
        self._pass(now_s)
        self._seen = self._seen.observed(work, 0.0, 1.0)

    def ended(self, now_s: float) -> None:
        """Nothing waits any more."""
        self._pass(now_s)
        self._since_s = None

    def set_replicas(self, replicas: int, now_s: float) -> None:
        """Count `replicas` as taking requests from now on."""
        self._pass(now_s)
        self._replicas = replicas

    def per_s(self, now_s: float) -> float:
        """Return work a second of all replicas; 0: there is none, or it is too early to tell."""
        self._pass(now_s)
        return self._seen.mean * self._replicas if self._busy_s >= EVIDENCE_S else 0.0

    def _pass(self, now_s: float) -> None:
        if self._since_s is None:
            return
        passed_s = now_s - self._since_s
        self._since_s = now_s
        if passed_s > 0 and self._replicas:
            keep = kept(passed_s, self._memory_s)
            self._busy_s = self._busy_s * keep + passed_s
            self._seen = self._seen.observed(0.0, passed_s * self._replicas, keep)
