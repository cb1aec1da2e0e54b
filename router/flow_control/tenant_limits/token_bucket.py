"""A token bucket: charged a request's estimated work when it comes, and the rest when it ends."""

from math import exp
from typing import Final

DEMAND_S: Final = 3.0
"""Seconds over which what is asked for is averaged: so long may a client stay away before its part goes elsewhere."""
_MEMORY: Final = 1.0 / 8.0
"""Weight of the last request in the mean amount that is asked for."""
SMALLEST_SHARE: Final = 1e-6
"""A gateway without a part of a limit has this one, so that waits are finite."""


class TokenBucket:
    """Allows a rate on average and a burst at once, or a part of both. It starts full.

    Args:
        per_s: amount per second by which it fills, above 0.
        burst: amount that it holds, above 0.
        now_s: the time, monotonic seconds.
        share: the part of both that is allowed here, 0 to 1.

    Attributes:
        limit: the whole rate, per second, and the whole burst.
        share: the part of the rate that is allowed here.
        per_s: amount per second by which it fills.
        burst: amount that it holds: the same part of the burst, but enough for two requests of the usual size, if the
            whole burst is. With less it would be full while it waits for a request, and lose what it is to let through.

    Raises:
        ValueError: an amount is not above 0.
    """

    __slots__ = ("_as_of_s", "_asked", "_asked_s", "_level", "_usual", "burst", "limit", "per_s", "share")

    def __init__(self, per_s: float, burst: float, now_s: float, share: float = 1.0) -> None:
        if per_s <= 0 or burst <= 0:
            raise ValueError(f"a bucket that fills {per_s}/s and holds {burst} lets nothing through")
        self.limit = per_s, burst
        self.share = max(share, SMALLEST_SHARE)
        self.per_s = per_s * self.share
        self.burst = burst * self.share
        self._level = self.burst
        self._as_of_s = now_s
        self._asked = 0.0
        self._asked_s = now_s
        self._usual = 0.0

    def set_share(self, share: float, now_s: float) -> None:
        """Allow another part of the limit from now on. What is in the bucket stays, up to what it then holds."""
        level = self.level(now_s)
        self.share = max(share, SMALLEST_SHARE)
        self.per_s = self.limit[0] * self.share
        self.burst = min(self.limit[1], max(self.limit[1] * self.share, 2.0 * self._usual))
        self._level = min(self.burst, level)

    def asked(self, amount: float, now_s: float) -> None:
        """Note that so much was asked for, whether it is taken or not."""
        if now_s > self._asked_s:
            self._asked *= exp((self._asked_s - now_s) / DEMAND_S)
            self._asked_s = now_s
        self._asked = min(
            self._asked + amount, self.limit[0] * DEMAND_S
        )  # more is not to be had, and takes longer to fade
        if amount:
            self._usual += (amount - self._usual) * _MEMORY

    def demand(self, now_s: float) -> float:
        """Return what is asked for, as a part of the whole limit, at most 1, averaged over about `DEMAND_S`."""
        self.asked(0.0, now_s)
        return self._asked / DEMAND_S / self.limit[0]

    def level(self, now_s: float) -> float:
        """Return the amount in the bucket now; below 0 after requests that cost more than estimated."""
        if now_s > self._as_of_s:
            self._level = min(self.burst, self._level + (now_s - self._as_of_s) * self.per_s)
            self._as_of_s = now_s
        return self._level

    def missing(self, amount: float, now_s: float) -> float:
        """Return by how much the bucket is short of `amount`; 0: it may be taken now.

        A larger amount than `burst` needs a full bucket, so that it is not refused for ever.
        """
        missing = min(amount, self.burst) - self.level(now_s)
        # A billionth of the bucket missing is a rounding error of the level.
        return missing if missing > 1e-9 * self.burst else 0.0

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return the seconds in which what is missing of `amount` fills in; 0: it may be taken now."""
        return self.missing(amount, now_s) / self.per_s

    def take(self, amount: float) -> None:
        """Take `amount`, even below 0; a negative amount is given back, up to a full bucket."""
        self._level = min(self.burst, self._level - amount)
