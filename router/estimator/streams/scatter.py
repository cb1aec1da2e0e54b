"""How far a pool's streams scatter around the time per token that is expected of them.

A histogram of real over expected time. From it follows how many streams miss a target: all of a pool whose streams take
0.95 to 1.05 of what is expected keep a target of 1.1, in another one of ten has twice the time since a long prompt came
between its tokens, whatever the batch.
"""

from math import log
from typing import Final, final

KEEP: Final = 0.995
"""Share of the earlier streams' weight that each new one leaves: in effect the last 200 streams count."""
LOWEST: Final = 0.4
"""Ratio below which streams are not told apart."""
STEP: Final = 1.02
"""Factor between a bin's bounds."""
BINS: Final = 120
"""Number of bins: ratios up to 4.3 are told apart."""
SPREAD: Final = 1
"""Bins on each side over which one stream is spread, so that few streams make a smooth curve."""
WIDER: Final = 9
"""The same where the batch is not known either: how many streams will run is a guess."""
SETTLE_EVERY: Final = 16
"""Streams after which what is told changes."""
PRIOR_STREAMS: Final = 8.0
"""Streams that the prior counts as: all as fast as expected."""
_RENORMALISED: Final = 1e9
"""Weight of a stream from which all weights are made small again."""


@final
class StreamScatter:
    """Shares of streams by the ratio of their real to their expected time per token.

    Attributes:
        settled: times that what is told changed.
    """

    __slots__ = ("_learned", "_over", "_weight", "_weights", "_wider", "settled")

    def __init__(self) -> None:
        self._weights = [0.0] * BINS
        self._weight = 1.0
        self._over = [0.0] * (BINS + 1)
        self._wider = [0.0] * (BINS + 1)
        self._learned = 0
        self.settled = 0
        self._add(_bin(1.0), PRIOR_STREAMS)
        self._settle()

    def learn(self, ratio: float) -> None:
        """Learn from a stream that came to its end."""
        self._weight /= KEEP
        if self._weight > _RENORMALISED:
            self._weights = [weight / self._weight for weight in self._weights]
            self._weight = 1.0
        self._add(_bin(ratio), self._weight)
        self._learned += 1
        if self._learned < SETTLE_EVERY or not self._learned % SETTLE_EVERY:
            self._settle()

    def _settle(self) -> None:
        self.settled += 1
        over, above = self._over, 0.0
        for at in range(BINS - 1, -1, -1):
            above += self._weights[at]
            over[at] = above
        for at in range(BINS):
            over[at] /= above
        for at in range(BINS):
            near = [over[min(max(at + by, 0), BINS)] * (WIDER + 1 - abs(by)) for by in range(-WIDER, WIDER + 1)]
            self._wider[at] = sum(near) / (WIDER + 1) ** 2

    def share_over(self, ratio: float) -> float:
        """Return the share of streams whose time is more than `ratio` times what is expected of them, 0 to 1."""
        return _at(self._over, ratio)

    def risk_over(self, ratio: float) -> float:
        """Return the same, of streams whose batch is not known exactly."""
        return _at(self._wider, ratio)

    def _add(self, middle: int, weight: float) -> None:
        each = weight / (SPREAD + 1) ** 2
        for at in range(middle - SPREAD, middle + SPREAD + 1):
            share = SPREAD + 1 - abs(at - middle)
            self._weights[min(max(at, 0), BINS - 1)] += share * each


_LOG_STEP: Final = log(STEP)


def _bin(ratio: float) -> int:
    if ratio <= LOWEST:
        return 0
    return min(BINS - 1, int(log(ratio / LOWEST) / _LOG_STEP))


def _at(over: list[float], ratio: float) -> float:
    if ratio <= LOWEST:
        return 1.0
    place = log(ratio / LOWEST) / _LOG_STEP
    at = int(place)
    if at >= BINS:
        return 0.0
    return over[at] + (place - at) * (over[at + 1] - over[at])
