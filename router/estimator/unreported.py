"""Unreported requests: sent to one replica, but not yet contained in its load reports."""

from typing import Final

GRACE_S: Final = 1.0
"""Seconds after which a request no longer counts as unreported, whatever the replica's count says.

By then it is in a report, or it never arrived.
"""


class UnreportedRequests:
    """One replica's unreported requests, in the order they were sent, with their uncached prompt tokens.

    Each report says how many of this gateway's requests the replica has accepted since it started. A report with 7
    accepted contains the first seven sent, so no request is counted twice or missed.

    A request that never arrives leaves the replica's count one behind ours for good. So requests that end before their
    first token, or are unreported for `GRACE_S`, are counted as lost, and lost ones are added to the replica's count.

    Attributes:
        sent: requests ever sent to the replica.
        tokens: uncached prompt tokens of its unreported requests.
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
            now_s: when it is sent, monotonic seconds.
            is_reporting: the replica sends reports, so a later one will contain it. False: it is only numbered.
        """
        self.sent += 1
        if is_reporting:
            self._waiting[self.sent] = (tokens, now_s)
            self.tokens += tokens
        return self.sent

    def remove(self, number: int) -> None:
        """Take out a request whose first token came, so it has arrived. Does nothing if a report contains it."""
        if number in self._waiting:
            self._take_out(number)

    def lost(self, number: int) -> None:
        """Count a request that ended before its first token as lost: it may never have arrived."""
        if number in self._waiting:
            self._lost += 1
            self._take_out(number)

    def reported(self, accepted: int, now_s: float) -> None:
        """Take out the requests that a report contains.

        Args:
            accepted: this gateway's requests that the replica has accepted since it started.
            now_s: when the report came, monotonic seconds.
        """
        waiting = self._waiting
        while waiting:
            number = next(iter(waiting))
            if number > accepted + self._lost:
                if waiting[number][1] + GRACE_S > now_s:
                    break
                self._lost += 1
            self._take_out(number)
        if self._lost:
            # A slow request that arrived after all was counted as lost and is now in `accepted`: count it once.
            self._lost = min(self._lost, max(0, self.sent - accepted))

    def clear(self) -> None:
        """Forget the unreported requests: the replica's reports have stopped."""
        self._waiting.clear()
        self.tokens = 0.0

    def _take_out(self, number: int) -> None:
        self.tokens -= self._waiting.pop(number)[0]
        if not self._waiting:
            self.tokens = 0.0  # sums of floats drift; with no request left the true sum is known

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
