"""Rate limits: a token bucket that is charged what a request is thought to cost and settled when it ends."""


class TokenBucket:
    """Allows `per_s` on average and `burst` at once.

    Args:
        per_s: how fast it fills.
        burst: how much it holds; it starts full.
        now_s: the time.
    """

    __slots__ = ("_as_of_s", "_level", "burst", "per_s")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        if per_s <= 0 or burst <= 0:
            raise ValueError(f"a bucket that fills {per_s}/s and holds {burst} lets nothing through")
        self.per_s = per_s
        self.burst = burst
        self._level = burst
        self._as_of_s = now_s

    def level(self, now_s: float) -> float:
        """Return what may be taken now; below 0 after requests that cost more than was thought."""
        if now_s > self._as_of_s:
            self._level = min(self.burst, self._level + (now_s - self._as_of_s) * self.per_s)
            self._as_of_s = now_s
        return self._level

    def wait_s(self, amount: float, now_s: float) -> float:
        """Return how long until `amount` may be taken; 0: now. More than the bucket holds waits for a full one."""
        missing = min(amount, self.burst) - self.level(now_s)
        # A part in a billion is the rounding of the level, not a token short.
        return max(0.0, missing / self.per_s) if missing > 1e-9 * self.burst else 0.0

    def take(self, amount: float) -> None:
        """Take `amount`, into debt if need be; a negative amount gives back, up to a full bucket."""
        self._level = min(self.burst, self._level - amount)
