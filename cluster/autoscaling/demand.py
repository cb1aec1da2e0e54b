"""Estimates the work offered a second, from as much of the past as still describes the present.

A long window is steady but slow, a short one quick but noisy. The estimate uses the longest window that no shorter one
contradicts. This is Lepski's method, as the intersection-of-confidence-intervals rule of Goldenshluger and Nemirovski,
"On spatially adaptive estimation of nonparametric regression", 1997. Under a constant load the estimate rests on
minutes; two seconds after a step it rests on two seconds.

Two windows contradict each other if they differ by more than chance explains. Chance is estimated from the requests
themselves, which arrive independently, each with its work; and from how much rougher the last minutes were than that
(`Demand.roughness`). Traffic with a rate that jitters all the time would otherwise contradict itself all the time.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

WINDOWS_S = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
"""Lengths of the windows in seconds, each about twice the one before."""
FIRST_DOUBTS = 1.0
"""Standard deviations subtracted from the estimate while it rests on a window that is not yet full."""
CONTRADICTION = 4.0
"""Standard deviations above which the difference of a shorter window from a longer one is a contradiction."""
_TREND_S = 60.0
"""Seconds of each part that a trend compares."""
_MINUTES = 4
"""Number of these parts."""
_ROUGH_S = 10.0
"""Seconds of each part that `roughness` compares."""
_ROUGH_LAG = 3
"""Distance between two compared parts, in parts."""
_ROUGH_KEPT = 0.85
"""Share of the squared differences that is kept, the smallest ones."""
_KEPT_CHI_SQUARE = 0.5205
"""Mean of the lower 85 % of the chi-square distribution with one degree of freedom (a standard normal squared)."""
_FEWEST_ROUGH = 8
"""Fewest parts, and fewest kept differences, from which a roughness is computed."""
_RESOLUTION_S = 0.25
"""Seconds between two kept samples at least."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Running totals of the offered work.

    Attributes:
        at_s: when they were read, monotonic seconds.
        work: work offered since the first sample, tokens.
        work_squared: sum of the squares of the requests' works since the first sample.
    """

    at_s: float
    work: float
    work_squared: float


@dataclass(frozen=True, slots=True)
class Demand:
    """The last minutes of offered work.

    Attributes:
        samples: samples, oldest first, as far back as the longest window reaches.
        counters: values of the two counters at the last call, from which the next call takes the increase.
    """

    samples: tuple[Sample, ...] = ()
    counters: tuple[float, float] = (0.0, 0.0)

    def observe(self, offered_work: float, offered_work_squared: float, now_s: float) -> "Demand":
        """Return a copy with a sample added.

        Args:
            offered_work: counter of all work ever offered, tokens.
            offered_work_squared: counter of the squares of the requests' works. A counter that fell, because a gateway
                restarted, counts as no increase.
            now_s: the time, monotonic seconds.
        """
        counters = (offered_work, offered_work_squared)
        if not self.samples:
            return Demand((Sample(now_s, 0.0, 0.0),), counters)
        last = self.samples[-1]
        sample = Sample(
            now_s,
            last.work + max(0.0, offered_work - self.counters[0]),
            last.work_squared + max(0.0, offered_work_squared - self.counters[1]),
        )
        keep = self.samples
        if len(keep) > 1 and now_s - keep[-2].at_s < _RESOLUTION_S:
            keep = keep[:-1]
        # The first sample kept is the last one at or before the longest window's start.
        start = max(0, bisect_left(keep, now_s - WINDOWS_S[-1], key=_at_s) - 1)
        return Demand((*keep[start:], sample), counters)

    def work_per_s(self) -> tuple[float, float]:
        """Return the work offered a second, over as much of the past as does not contradict the last seconds.

        Returns:
            The work a second, and the seconds of the past that it is the mean of.
        """
        estimate = (0.0, 0.0)
        tolerance = CONTRADICTION * sqrt(self.roughness())
        shorter: list[tuple[float, float, float]] = []
        for window_s in WINDOWS_S:
            span_s, work, squared = self._over(window_s)
            if span_s <= 0:
                return estimate
            rate, variance_rate = work / span_s, squared / span_s
            for seen_s, seen_work, seen_squared in shorter:
                # The mean of two estimates of the variance. By the longer window's alone, one large request would look
                # impossible; by the shorter window's alone, a hundred small ones too would look like chance.
                variance = 0.5 * (variance_rate * seen_s + seen_squared)
                if abs(seen_work - rate * seen_s) > tolerance * sqrt(variance):
                    return estimate
            estimate = (rate, span_s)
            shorter.append((span_s, work, squared))
            if span_s < window_s:
                # No older samples exist. Over so short a past, only the part that chance cannot explain counts.
                return max(0.0, rate - FIRST_DOUBTS * sqrt(squared) / span_s), span_s
        return estimate

    def over(self, window_s: float) -> float:
        """Return the work offered a second over the last `window_s` seconds, or as far back as there are samples."""
        span_s, work, _ = self._over(window_s)
        return work / span_s if span_s > 0 else 0.0

    def roughness(self) -> float:
        """Return how much more the load varies within half a minute than independent requests would; 1 or more.

        It is a ratio of variances. The largest squared differences are left out, so that one step in the load does not
        count.
        """
        if not self.samples:
            return 1.0
        now_s = self.samples[-1].at_s
        buckets = int((now_s - self.samples[0].at_s) / _ROUGH_S)
        if buckets < _FEWEST_ROUGH:
            return 1.0
        marks = [self._last_at(now_s - bucket * _ROUGH_S) for bucket in range(buckets + 1)]
        parts = [(new.work - old.work, new.work_squared - old.work_squared) for new, old in pairwise(marks)]
        ratios = [
            (work - before) ** 2 / (squared + squared_before)
            for (work, squared), (before, squared_before) in zip(parts, parts[_ROUGH_LAG:], strict=False)
            if squared + squared_before > 0
        ]
        kept = sorted(ratios)[: int(len(ratios) * _ROUGH_KEPT)]
        return max(1.0, sum(kept) / len(kept) / _KEPT_CHI_SQUARE) if len(kept) >= _FEWEST_ROUGH else 1.0

    def climb_per_s2(self) -> float:
        """Return the trend of the demand: the increase of the work a second, each second; 0 unless it climbs.

        The trend is the smallest of the three increases between the last four minutes, less the increase that chance
        explains. A step in the load shows in two of the three at most, so it does not count as a trend.
        """
        if not self.samples:
            return 0.0
        now_s = self.samples[-1].at_s
        if now_s - self.samples[0].at_s < _MINUTES * _TREND_S:
            return 0.0
        marks = [self._last_at(now_s - step * _TREND_S) for step in range(_MINUTES + 1)]
        rates = [(new.work - old.work) / _TREND_S for new, old in pairwise(marks)]
        climb = min(new - old for new, old in pairwise(rates))
        if climb <= 0:
            return 0.0
        # Independent requests average out over a minute; roughness beyond theirs is assumed not to.
        variance_rate = (marks[0].work_squared - marks[-1].work_squared) / (_MINUTES * _TREND_S)
        chance = sqrt(2 * variance_rate * (1.0 / _TREND_S + (self.roughness() - 1.0) / _ROUGH_S))
        return max(0.0, climb - chance) / _TREND_S

    def _over(self, window_s: float) -> tuple[float, float, float]:
        last = self.samples[-1] if self.samples else Sample(0.0, 0.0, 0.0)
        position = max(0, bisect_left(self.samples, last.at_s - window_s + 1e-9, key=_at_s) - 1)
        first = self.samples[position] if self.samples else last
        return last.at_s - first.at_s, last.work - first.work, last.work_squared - first.work_squared

    def _last_at(self, at_s: float) -> Sample:
        return self.samples[max(0, bisect_left(self.samples, at_s + 1e-9, key=_at_s) - 1)]


def _at_s(sample: Sample) -> float:
    return sample.at_s
