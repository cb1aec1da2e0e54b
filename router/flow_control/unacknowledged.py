"""Requests sent to one replica that its load reports do not contain yet."""

from collections import deque

GRACE_S = 1.0
"""A report this much younger than a request contains it, whatever the replica's counter says: or it never arrived."""


class Unacknowledged:
    """Counts them in the order they were sent: a report that says "7 of yours accepted" contains the first seven.

    A request that never reached the replica is never accepted: it would leave the replica's counter behind ours for
    good. So those that outlive `GRACE_S` are taken as lost and are added to the replica's count from then on.

    Attributes:
        sent: requests ever sent.
    """

    __slots__ = ("_lost", "_sent_s", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self._lost = 0
        self._sent_s: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """A request is sent."""
        self.sent += 1
        self._sent_s.append(now_s)

    def reported(self, accepted: int, now_s: float) -> int:
        """Take a report's count of accepted requests; return how many it does not contain."""
        waiting = self._sent_s
        for _ in range(min(len(waiting), accepted + self._lost - (self.sent - len(waiting)))):
            waiting.popleft()
        while waiting and waiting[0] + GRACE_S <= now_s:
            waiting.popleft()
            self._lost += 1
        # Requests that were slow, not lost, have been counted twice.
        self._lost = min(self._lost, max(0, self.sent - accepted))
        return len(waiting)
