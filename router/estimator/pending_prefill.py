"""Prompt tokens waiting on one replica: what it reported, and what this gateway has sent since."""

GRACE_S = 1.0
"""A report this much younger than a request counts it even where the replica's counter says otherwise."""
STALE_S = 3.0
"""An older report says nothing about now; then this gateway's own requests are all that is known."""


class PendingPrefill:
    """One replica's waiting work as one gateway knows it.

    With reports: the reported tokens, less what the replica has worked off since, plus the requests the report does not
    count yet. Requests are counted in the order they were sent: a report that says "7 of yours accepted" includes the
    first seven, so none is counted twice, and none is missed. Without reports: this gateway's own requests that
    have no first token yet; of those that are not streamed, whose first token is never seen, those that should not have
    been prefilled by now.

    Attributes:
        sent: requests this gateway has sent there.
    """

    __slots__ = (
        "_blind",
        "_blind_until_s",
        "_lost",
        "_own",
        "_own_tokens",
        "_reported_at_s",
        "_reported_tokens",
        "_serving_since_s",
        "_uncounted",
        "_uncounted_tokens",
        "sent",
    )

    def __init__(self) -> None:
        self.sent = 0
        self._lost = 0
        self._own: dict[int, float] = {}
        self._own_tokens = 0.0
        self._serving_since_s = 0.0
        self._blind: dict[int, float] = {}
        self._blind_until_s = 0.0
        self._reported_at_s: float | None = None
        self._reported_tokens = 0.0
        self._uncounted: dict[int, tuple[float, float]] = {}
        self._uncounted_tokens = 0.0

    def wait_s(self, now_s: float, s_per_token: float) -> float:
        """Return how long a request that comes now waits until what is before it is prefilled; 0 or more.

        Args:
            now_s: monotonic seconds.
            s_per_token: how long this replica takes to prefill a token.
        """
        reported_at_s = self._reported_at_s
        if reported_at_s is not None and now_s - reported_at_s < STALE_S:
            left_s = self._reported_tokens * s_per_token - now_s + reported_at_s
            uncounted_s = self._uncounted_tokens * s_per_token
            return left_s + uncounted_s if left_s > 0.0 else uncounted_s
        wait_s = 0.0
        if self._own:
            first_s = next(iter(self._own.values())) * s_per_token
            wait_s = self._own_tokens * s_per_token - min(first_s, now_s - self._serving_since_s)
        if self._blind and self._blind_until_s > now_s:
            wait_s += min(self._blind_until_s - now_s, sum(self._blind.values()) * s_per_token)
        return wait_s

    def add(self, tokens: float, now_s: float, s_per_token: float, *, stream: bool) -> int:
        """Count a request of `tokens` uncached prompt tokens; return its number on this replica.

        Args:
            tokens: what is to be prefilled for it.
            now_s: when it is sent.
            s_per_token: how long this replica takes to prefill a token.
            stream: its first token will be seen.
        """
        self.sent += 1
        if stream:
            if not self._own:
                self._serving_since_s = now_s
            self._own[self.sent] = tokens
            self._own_tokens += tokens
        else:
            self._blind_until_s = max(self._blind_until_s, now_s) + tokens * s_per_token
            self._blind[self.sent] = tokens
        if self._reported_at_s is not None:
            self._uncounted[self.sent] = (tokens, now_s)
            self._uncounted_tokens += tokens
        return self.sent

    def prefilled(self, number: int, now_s: float) -> None:
        """A request has its first token."""
        self._remove(number)
        self._serving_since_s = now_s

    def lost(self, number: int, now_s: float) -> None:
        """A request ended before its first token; nothing happens where it was prefilled."""
        if number in self._uncounted:
            self._lost += 1  # it may never have arrived: don't wait for the replica to count it
        if number in self._own or number in self._blind:
            self.prefilled(number, now_s)

    def _remove(self, number: int) -> None:
        self._blind.pop(number, None)
        self._own_tokens -= self._own.pop(number, 0.0)
        if not self._own:
            self._own_tokens = 0.0
        if number in self._uncounted:
            self._counted(number)

    def _counted(self, number: int) -> None:
        self._uncounted_tokens -= self._uncounted.pop(number)[0]
        if not self._uncounted:
            self._uncounted_tokens = 0.0

    def reported(self, waiting_tokens: float, accepted: int, now_s: float) -> None:
        """Take a report.

        Args:
            waiting_tokens: prompt tokens not yet prefilled on the replica, everybody's.
            accepted: how many of this gateway's requests that includes, over the replica's life.
            now_s: when the report came.
        """
        self._reported_at_s = now_s
        self._reported_tokens = waiting_tokens
        counted = accepted + self._lost
        uncounted = self._uncounted
        while uncounted:
            number = next(iter(uncounted))
            if number > counted and uncounted[number][1] + GRACE_S > now_s:
                break
            self._counted(number)

    def silent(self) -> None:
        """The replica's reports have stopped coming."""
        self._reported_at_s = None
        self._uncounted.clear()
        self._uncounted_tokens = 0.0

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        if abs(sum(self._own.values()) - self._own_tokens) > 1e-6 * (1.0 + self._own_tokens):
            raise AssertionError("the own tokens are not the sum over the own requests")
        uncounted_tokens = sum(tokens for tokens, _ in self._uncounted.values())
        if abs(uncounted_tokens - self._uncounted_tokens) > 1e-6 * (1.0 + uncounted_tokens):
            raise AssertionError("the uncounted tokens are not the sum over the uncounted requests")
        if not self._uncounted.keys() <= self._own.keys() | self._blind.keys():
            raise AssertionError("a request is waited for that has been prefilled")
