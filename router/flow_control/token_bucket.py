"""A token bucket: charged a request's estimated work when it comes, and the rest when it ends."""


class TokenBucket:
    """Allows `per_s` on average and `burst` at once. It starts full.

    Args:
        per_s: amount per second by which it fills, above 0.
        burst: amount that it holds, above 0.
        now_s: the time, monotonic seconds.

    Raises:
        ValueError: an amount is not above 0.
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
