"""Measures how long KV blocks take to come back from the tiers below a device."""

from dataclasses import dataclass
from typing import Final

from router.estimator.learning.fading_mean import FadingMean

KEEP: Final = 0.98
"""Share of the past that each fetch leaves in the mean: in effect the last fifty count."""
PRIOR_TOKENS: Final = 256.0
"""Tokens that the first guess weighs as much as."""


@dataclass(frozen=True, slots=True)
class FetchStats:
    """What an engine has fetched from the tiers below its device.

    Attributes:
        fetched_tokens: prompt tokens fetched since it started.
        s_per_token: seconds that one takes, over the last fetches.
    """

    fetched_tokens: int
    s_per_token: float


class FetchMeter:
    """Counts fetches.

    Args:
        s_per_token: seconds that a token takes, as far as is known before any fetch.

    Attributes:
        tokens: tokens fetched so far.
        seconds: seconds that all these fetches took together.
    """

    def __init__(self, s_per_token: float) -> None:
        self.tokens = self.seconds = 0.0
        self._seen = FadingMean(s_per_token * PRIOR_TOKENS, PRIOR_TOKENS)

    def fetched(self, tokens: float, seconds: float) -> None:
        """Count a fetch of some tokens."""
        self.tokens += tokens
        self.seconds += seconds
        self._seen.observe(seconds, tokens, KEEP)

    def stats(self) -> FetchStats:
        """Return what was measured so far."""
        return FetchStats(round(self.tokens), self._seen.mean)
