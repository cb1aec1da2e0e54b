"""What happened lately: rates between the first and the last of the readings of some seconds."""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from deployments.commands.top.reading import Reading

WINDOW_S = 10.0
P95 = 0.95


@dataclass(frozen=True, slots=True)
class RecentRates:
    """One model's last seconds.

    Attributes:
        requests_per_s: that ended.
        failed_per_s: of them, those that did not end well.
        first_byte_p95_s: nineteen in twenty answers began within this; None: none began.
    """

    requests_per_s: float
    failed_per_s: float
    first_byte_p95_s: float | None


class Recent:
    """The readings of the last `WINDOW_S`."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Take the newest reading."""
        self._readings.append(reading)
        while len(self._readings) > 2 and self._readings[1].at_s <= reading.at_s - WINDOW_S:  # noqa: PLR2004 - a pair
            self._readings.popleft()

    @property
    def last(self) -> Reading:
        """The newest reading."""
        return self._readings[-1]

    def rates(self, model: str) -> RecentRates:
        """Return a model's rates; all 0 after one reading, or where a gateway came or went in between."""
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
    """Return a quantile of cumulative counts by upper bound, between bounds in proportion; None: of nothing."""
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
