"""Pending prefill: the prompt tokens that wait on one replica, by its last report and by what was sent since."""

from typing import Final

from router.estimator.unreported import UnreportedRequests

STALE_S: Final = 3.0
"""Age in seconds from which a report is ignored; then only this gateway's own requests are known."""


class PendingPrefill:
    """One replica's waiting prompt tokens, as one gateway knows them.

    With reports: the reported tokens, less what the replica has prefilled since, plus the requests that the report does
    not contain yet. Without reports: this gateway's own requests that have no first token yet. If an answer is not
    streamed, its first token is never seen, so the request counts for as long as its prefill should take.

    Attributes:
        unreported: requests sent there that no report contains yet.
    """

    __slots__ = (
        "_blind",
        "_blind_tokens",
        "_blind_until_s",
        "_own",
        "_own_tokens",
        "_reported_at_s",
        "_reported_tokens",
        "_serving_since_s",
        "unreported",
    )

    def __init__(self) -> None:
        self.unreported = UnreportedRequests()
        self._own: dict[int, float] = {}
        self._own_tokens = 0.0
        self._serving_since_s = 0.0
        self._blind: dict[int, float] = {}
        self._blind_tokens = 0.0
        self._blind_until_s = 0.0
        self._reported_at_s: float | None = None
        self._reported_tokens = 0.0

    def wait_s(self, now_s: float, s_per_token: float) -> float:
        """Return the seconds until all that waits there now is prefilled, 0 or more.

        Args:
            now_s: the time, monotonic seconds.
            s_per_token: seconds that this replica takes to prefill a token.
        """
        reported_at_s = self._reported_at_s
        if reported_at_s is not None and now_s - reported_at_s < STALE_S:
            left_s = self._reported_tokens * s_per_token - now_s + reported_at_s
            unreported_s = self.unreported.tokens * s_per_token
            return left_s + unreported_s if left_s > 0.0 else unreported_s
        wait_s = 0.0
        if self._own:
            first_s = next(iter(self._own.values())) * s_per_token
            wait_s = self._own_tokens * s_per_token - min(first_s, now_s - self._serving_since_s)
        blind_s = self._blind_until_s - now_s
        if blind_s > 0.0 and self._blind:
            together_s = self._blind_tokens * s_per_token
            wait_s += together_s if together_s < blind_s else blind_s  # noqa: FURB136 - for each request: no call
        return wait_s

    def add(self, tokens: float, now_s: float, s_per_token: float, *, stream: bool) -> int:
        """Count a request that is sent to the replica; return its number there, from 1.

        Args:
            tokens: its uncached prompt tokens.
            now_s: when it is sent, monotonic seconds.
            s_per_token: seconds that this replica takes to prefill a token.
            stream: its answer is streamed, so its first token will be seen.
        """
        number = self.unreported.add(tokens, now_s, is_reporting=self._reported_at_s is not None)
        if stream:
            if not self._own:
                self._serving_since_s = now_s
            self._own[number] = tokens
            self._own_tokens += tokens
        else:
            if self._blind_until_s < now_s:  # noqa: PLR1730 - for each request: no call
                self._blind_until_s = now_s
            self._blind_until_s += tokens * s_per_token
            self._blind[number] = tokens
            self._blind_tokens += tokens
        return number

    def prefilled(self, number: int, now_s: float) -> None:
        """Take out a request whose first token has come."""
        self.unreported.remove(number)
        self._remove(number, now_s)

    def lost(self, number: int, now_s: float) -> None:
        """Take out a request that ended without a whole answer. Does nothing if it was prefilled."""
        self.unreported.lost(number)
        if number in self._own or number in self._blind:
            self._remove(number, now_s)

    def _remove(self, number: int, now_s: float) -> None:
        if number in self._blind:
            self._blind_tokens -= self._blind.pop(number)
            if not self._blind:
                self._blind_tokens = 0.0
        else:
            self._own_tokens -= self._own.pop(number, 0.0)
            if not self._own:
                self._own_tokens = 0.0
        self._serving_since_s = now_s

    def reported(self, waiting_tokens: float, accepted: int, now_s: float) -> None:
        """Take a load report.

        Args:
            waiting_tokens: prompt tokens not yet prefilled on the replica, of all gateways.
            accepted: this gateway's requests that the replica has accepted since it started.
            now_s: when the report came, monotonic seconds.
        """
        self._reported_at_s = now_s
        self._reported_tokens = waiting_tokens
        self.unreported.reported(accepted, now_s)

    def silent(self) -> None:
        """Forget the last report: the replica's reports have stopped."""
        self._reported_at_s = None
        self.unreported.clear()

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.unreported.check_integrity()
        if abs(sum(self._own.values()) - self._own_tokens) > 1e-6 * (1.0 + self._own_tokens):
            raise AssertionError("the own tokens are not the sum over the own requests")
        if abs(sum(self._blind.values()) - self._blind_tokens) > 1e-6 * (1.0 + self._blind_tokens):
            raise AssertionError("the tokens whose end is not seen are not the sum over their requests")
        if not self.unreported.numbers() <= self._own.keys() | self._blind.keys():
            raise AssertionError("a request is waited for that has been prefilled")
