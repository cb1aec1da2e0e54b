"""A tenant's limit on requests at once: those that wait in the gateway and those that run."""

from math import exp
from typing import Final

from router.flow_control.tenant_limits.limit_shares import Want

DEMAND_S: Final = 3.0
"""Seconds over which what was asked for is remembered."""
_MEMORY: Final = 1.0 / 16.0
"""Weight of the last request in the mean time that they take."""
_SHORTEST_S: Final = 0.01


class RequestsAtOnce:
    """Counts a tenant's requests at one gateway.

    Attributes:
        limit: most requests at once, of all gateways together.
        share: the part of the limit that is allowed here, 0 to 1.
        running: requests that have begun here and not ended.
    """

    __slots__ = ("_asked", "_asked_s", "_mean_s", "limit", "running", "share")

    def __init__(self) -> None:
        self.limit = 1
        self.share = 1.0
        self.running = 0
        self._asked = 0.0
        self._asked_s = 0.0
        self._mean_s = 1.0

    @property
    def allowed(self) -> int:
        """How many may be there at once here; none, where other gateways have it all."""
        return round(self.limit * self.share)

    def wait_s(self, now_s: float) -> float:
        """Return 0: one more may begin; else the seconds until one ends, about."""
        self._note(self.running + 1.0, now_s)
        allowed = self.allowed
        if self.running < allowed:
            return 0.0
        return max(_SHORTEST_S, self._mean_s / max(1, allowed))

    def begin(self) -> None:
        """Count a request in."""
        self.running += 1

    def end(self, arrived_s: float, now_s: float) -> None:
        """Count a request out that came at `arrived_s`."""
        self.give_back()
        self._mean_s += (now_s - arrived_s - self._mean_s) * _MEMORY

    def give_back(self) -> None:
        """Count a request out that was not served; one that began before there was a limit was never counted in."""
        self.running = max(0, self.running - 1)

    def want(self, now_s: float) -> Want:
        """Return what is wanted of the limit."""
        self._note(float(self.running), now_s)
        return Want(self._asked / self.limit, self.running / self.limit, self.limit)

    def _note(self, asked: float, now_s: float) -> None:
        faded = self._asked * exp(min(0.0, self._asked_s - now_s) / DEMAND_S)
        self._asked, self._asked_s = max(asked, faded), now_s
