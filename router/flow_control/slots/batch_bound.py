"""A pool's batch bound: how many requests a replica may run so that most of them keep their time per token (TPOT).

More sequences in a batch make each token slower, and bring more prompts to compute between tokens. What that costs is
learned, and how far streams scatter around it (`StreamSpeed`). So it is known for any batch how many streams end in a
second and which share of them is in time. The bound is the batch with most in time: beyond it more streams are late
than are won. Where streams are alike that is just below the batch whose tokens take the target's time. Where some are
slow at any batch, since long prompts come between their tokens, keeping the others waiting would not help them.
"""

from math import inf
from typing import Final, final

from router.estimator.streams.scatter import BINS, LOWEST, STEP
from router.estimator.streams.speed import StreamSpeed

LEAST_GAIN: Final = 1e-3
"""Share of the streams below which hardly any keeps a target whatever the batch: it bounds nothing then."""


@final
class BatchBound:
    """The bound of one pool's replicas, which are alike.

    Args:
        speed: what streams on them cost each other.
    """

    __slots__ = ("_most", "_settled", "_speed")

    def __init__(self, speed: StreamSpeed) -> None:
        self._speed = speed
        self._settled = -1
        self._most: dict[float, float] = {}

    def most(self, target_s: float) -> float:
        """Return how many requests a replica may run whose streams are to have a time per token; at least 1.

        Args:
            target_s: that time, seconds; infinite: they have none.
        """
        if target_s == inf:
            return inf
        if self._settled != self._speed.scatter.settled:
            self._settled = self._speed.scatter.settled
            self._most.clear()
        most = self._most.get(target_s)
        if most is None:
            most = self._most[target_s] = self._best(target_s)
        return most

    def _best(self, target_s: float) -> float:
        speed = self._speed
        each_s, alone_s, scatter = speed.per_stream_s, speed.mixed_s(1.0), speed.scatter
        if each_s <= 0.0:
            return inf
        best, most, in_time = 0.0, inf, 0.0
        ratio = LOWEST
        for _ in range(BINS):
            token_s = max(alone_s, target_s / ratio)  # streams that take up to `ratio` of what is expected are in time
            batch = 1.0 + (token_s - alone_s) / each_s
            share = 1.0 - scatter.share_over(target_s / token_s)
            if batch * share / token_s >= best:
                best, most, in_time = batch * share / token_s, batch, share
            if token_s == alone_s:
                break
            ratio *= STEP
        return most if in_time >= LEAST_GAIN else inf
