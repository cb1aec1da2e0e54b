"""Requests sent to one replica that its load reports do not contain yet."""

GRACE_S = 1.0
"""Seconds after which a report contains a request whatever the replica's counter says: or it never arrived."""


class UnreportedRequests:
    """Requests in the order they were sent, with their uncached prompt tokens.

    A replica says with each report how many of this gateway's requests it has accepted over its life: "7 accepted"
    contains the first seven. So none is counted twice and none is missed. A request that never arrives would leave the
    replica's count behind ours for good: those that outlive `GRACE_S`, and those that ended before their first token,
    are added to the replica's count from then on.

    Attributes:
        sent: requests ever sent.
        tokens: uncached prompt tokens of the unreported ones.
    """

    __slots__ = ("_lost", "_waiting", "sent", "tokens")

    def __init__(self) -> None:
        self.sent = 0
        self.tokens = 0.0
        self._lost = 0
        self._waiting: dict[int, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, number: int) -> bool:
        return number in self._waiting

    def numbers(self) -> set[int]:
        """Return the numbers of the unreported requests."""
        return set(self._waiting)

    def add(self, tokens: float, now_s: float, *, is_reporting: bool) -> int:
        """Count a request; return its number on this replica, from 1.

        Args:
            tokens: its uncached prompt tokens.
            now_s: when it is sent.
            is_reporting: the replica sends reports, so one will contain it.
        """
        self.sent += 1
        if is_reporting:
            self._waiting[self.sent] = (tokens, now_s)
            self.tokens += tokens
        return self.sent

    def remove(self, number: int) -> None:
        """A request is known to have arrived: its first token came. Nothing happens where a report contains it."""
        if number in self._waiting:
            self._take_out(number)

    def lost(self, number: int) -> None:
        """A request ended before its first token: it may never have arrived, so do not wait for the replica's count."""
        if number in self._waiting:
            self._lost += 1
            self._take_out(number)

    def reported(self, accepted: int, now_s: float) -> None:
        """Take a report's count of accepted requests, over the replica's life."""
        waiting = self._waiting
        while waiting:
            number = next(iter(waiting))
            if number > accepted + self._lost:
                if waiting[number][1] + GRACE_S > now_s:
                    break
                self._lost += 1
            self._take_out(number)
        if self._lost:
            # Requests that were slow, not lost, have been counted twice.
            self._lost = min(self._lost, max(0, self.sent - accepted))

    def clear(self) -> None:
        """The replica's reports have stopped: nothing waits for them."""
        self._waiting.clear()
        self.tokens = 0.0

    def _take_out(self, number: int) -> None:
        self.tokens -= self._waiting.pop(number)[0]
        if not self._waiting:
            self.tokens = 0.0  # sums of floats drift; an empty list is the moment to start anew from the truth

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        tokens = sum(tokens for tokens, _ in self._waiting.values())
        if abs(tokens - self.tokens) > 1e-6 * (1.0 + tokens):
            raise AssertionError(f"{self.tokens} unreported tokens are counted, the requests have {tokens}")
        if not 0 <= self._lost <= self.sent:
            raise AssertionError(f"{self._lost} of {self.sent} requests are counted as lost")
