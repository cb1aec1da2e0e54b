"""The headroom that keeps a service level objective: more while too few requests are in time, less while more are.

The queue says when replicas are short; it does not say how short they may be. The share of requests in time does. So
where there is an objective, the operator's headroom is only the first guess: it is moved in proportion to the error
budget's use, by a factor e in `TURN_S` seconds in which twice as many requests are out of time as are aimed at.
"""

from dataclasses import dataclass, field
from math import exp
from typing import Final

from cluster.autoscaling.ewma import Ewma, kept
from cluster.autoscaling.metrics.metrics import FleetMetrics

MEMORY_S: Final = 1800.0
"""Time constant, in seconds of requests, of the share that the headroom follows: longer than most bursts are apart."""
RECENT_S: Final = 60.0
"""Time constant, in seconds, of the share that asks for replicas at once."""
TURN_S: Final = 1800.0
"""Seconds in which the headroom changes by a factor e, if twice as many requests are out of time as are aimed at."""
LEAST: Final = 0.25
"""Least multiple of the operator's headroom: below it, chance alone makes requests wait."""
FEWEST: Final = 20.0
"""Requests from which a share says anything."""
MOST_USE: Final = 4.0
"""Bound on how fast the budget counts as used: a bad minute is no reason to double the fleet for hours."""


@dataclass(frozen=True, slots=True)
class InTime:
    """The requests that were in time.

    Attributes:
        long: their share over about the last half hour.
        recent: their share over about the last minute.
        requests: counter of the requests at the last metrics.
        met: counter of those in time at the last metrics.
    """

    long: Ewma = field(default_factory=Ewma)
    recent: Ewma = field(default_factory=Ewma)
    requests: float = 0.0
    met: float = 0.0

    def observe(self, metrics: FleetMetrics, elapsed_s: float) -> "InTime":
        """Return a copy that has learned from `metrics`; `elapsed_s` seconds have passed since the last ones."""
        requests, met = metrics.slo_requests - self.requests, metrics.slo_met - self.met
        if requests < 0:  # a gateway began to count anew
            requests = met = 0.0
        return InTime(
            self.long.observed(met, requests, kept(elapsed_s, MEMORY_S)),
            self.recent.observed(met, requests, kept(elapsed_s, RECENT_S)),
            metrics.slo_requests,
            metrics.slo_met,
        )

    def is_short(self, share: float) -> bool:
        """Tell whether fewer than a share were in time both in the last minute and for long: not in one burst alone."""
        return self.recent.weight >= FEWEST and max(self.recent.mean, self.long.mean) < share

    def headroom(self, now: float, usual: float, most: float, share: float, elapsed_s: float) -> float:
        """Return the headroom to use from now on.

        Args:
            now: the headroom in use.
            usual: the operator's.
            most: the largest.
            share: share of the requests that is to be in time.
            elapsed_s: seconds since it was last moved.
        """
        if self.long.weight < FEWEST:
            return now
        budget = 1.0 - aimed_share(share)
        use = min(MOST_USE, (1.0 - self.long.mean) / budget) - 1.0
        return min(most, max(LEAST * usual, now * exp(use * elapsed_s / TURN_S)))


def aimed_share(share: float) -> float:
    """Return the share aimed at for an objective: half of what may be out of time is kept for surprises."""
    return 0.5 * (1.0 + share)
