"""A pool's batch bound: how many requests a replica may run so that enough of them keep their time per token (TPOT).

More sequences in a batch make each token slower, and bring more prompts to compute between tokens. What that costs is
learned (`StreamSpeed`); the bound follows for any target. Streams scatter around what is expected of them, short ones
most, so the bound is planned with a margin. It is learned too: each stream that ran beside nearly as many as allowed
moves it, down by much if its tokens were too slow and up by little if not, so that in the end just the share is slow
that the objective allows (stochastic approximation: Robbins and Monro, 1951).
"""

from math import inf
from typing import Final, final

from router.estimator.stream_speed import StreamSpeed

FIRST_MARGIN: Final = 0.9
"""Share of the target that is planned with before streams have told."""
LEAST_MARGIN: Final = 0.3
MOST_MARGIN: Final = 1.2
"""Bounds on that share. It may exceed 1, as the mean of many streams is below what is expected of one at the bound."""
STEP: Final = 0.02
"""How much one stream moves it, at most."""
NEAR: Final = 0.8
"""Share of the bound from which a stream in time says that the margin may be smaller."""


@final
class BatchBound:
    """The bound of one pool's replicas, which are alike.

    Args:
        speed: what streams on them cost each other.

    Attributes:
        margin: share of the target that is planned with.
    """

    __slots__ = ("_speed", "margin")

    def __init__(self, speed: StreamSpeed) -> None:
        self._speed = speed
        self.margin = FIRST_MARGIN

    def most(self, target_s: float) -> float:
        """Return how many requests a replica may run whose streams are to have a time per token; at least 1.

        Args:
            target_s: that time, seconds; infinite: they have none.
        """
        if target_s == inf:
            return inf
        each_s = self._speed.per_stream_s
        left_s = self.margin * target_s - self._speed.token_s + self._speed.per_running_s
        return max(1.0, left_s / each_s) if each_s > 0.0 else inf

    def learn(self, token_s: float, running: float, target_s: float, slow_share: float) -> None:
        """Learn from a stream that came to its end.

        Args:
            token_s: its mean seconds per token.
            running: requests that ran on its replica, itself included, about.
            target_s: the seconds per token that it was to have.
            slow_share: share of the streams that may be slower than they are to be.
        """
        if token_s > target_s:
            self.margin = max(LEAST_MARGIN, self.margin - STEP * (1.0 - slow_share))
        elif running >= NEAR * self.most(target_s):
            self.margin = min(MOST_MARGIN, self.margin + STEP * slow_share)
