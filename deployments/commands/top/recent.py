"""Rates of the last seconds, computed from the first and the last reading in them."""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from deployments.commands.top.reading import Reading

WINDOW_S = 10.0
"""Seconds over which rates are computed."""
P95 = 0.95
"""The 95th percentile, as a share."""


@dataclass(frozen=True, slots=True)
class RecentRates:
    """One model's rates over the last seconds.

    Attributes:
        requests_per_s: requests that ended, per second.
        failed_per_s: those of them whose outcome was not `ok`, per second.
        first_byte_p95_s: 95th percentile of the time to the first byte, seconds; None: no answer began.
    """

    requests_per_s: float
    failed_per_s: float
    first_byte_p95_s: float | None


class Recent:
    """Keeps the readings of the last `WINDOW_S` seconds."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Add the newest reading and drop those before the window."""
        self._readings.append(reading)
        while len(self._readings) > 2 and self._readings[1].at_s <= reading.at_s - WINDOW_S:  # noqa: PLR2004 - a pair
            self._readings.popleft()

    @property
    def last(self) -> Reading:
        """The newest reading."""
        return self._readings[-1]

    def rates(self, model: str) -> RecentRates:
        """Return a model's rates; all 0 after only one reading, or if a gateway's counters were lost in between."""
        first, last = self._readings[0], self._readings[-1]
        passed_s = last.at_s - first.at_s
        before, now = first.models.get(model), last.models.get(model)
        if before is None or now is None or passed_s <= 0 or now.requests < before.requests:
            return RecentRates(0.0, 0.0, None)
        buckets = {
            bound: max(0.0, count - before.first_byte_buckets.get(bound, 0.0))
            for bound, count in now.first_byte_buckets.items()
        }
        return RecentRates(
            (now.requests - before.requests) / passed_s,
            max(0.0, now.failed - before.failed) / passed_s,
            quantile(P95, buckets),
        )


def quantile(share: float, buckets: dict[float, float]) -> float | None:
    """Return a quantile of a histogram, interpolated between its bounds; None: the histogram is empty.

    Args:
        share: the quantile, 0 to 1.
        buckets: cumulative counts by upper bound.
    """
    rows = sorted(buckets.items())
    total = rows[-1][1] if rows else 0.0
    if total <= 0:
        return None
    wanted = share * total
    for (below_s, below), (bound_s, count) in pairwise([(0.0, 0.0), *rows]):
        if count >= wanted:
            if bound_s == float("inf"):
                return below_s
            return below_s + (bound_s - below_s) * (wanted - below) / (count - below)
    return None
