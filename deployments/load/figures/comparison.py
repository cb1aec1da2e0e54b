"""Two runs beside one another: what changed, and between which bounds that lies (bootstrap).

Latencies are drawn anew by session, as the requests of one conversation are not independent of one another. What is
counted over time (tokens a second, goodput) is drawn by slices of the run. Both runs are drawn, so the interval is of
the ratio of the two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deployments.load.client.record import RequestRecord
from deployments.load.figures.run_file import RunFile

DRAWS: Final = 2000
CONFIDENCE: Final = 0.95
_SLICES: Final = 20
"""Parts of a run that are drawn for what is counted over time: each is long beside most answers."""
_FEWEST: Final = 2
"""Sessions below which there is no interval."""

_MOST_DRAWN: Final = 2_000_000
"""Values drawn at once: 16 MB."""

Column = NDArray[np.float64]
Statistic = Callable[[Column], Any]
"""Takes values along the last axis: one sample, or many."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two runs.

    Attributes:
        name: the figure.
        unit: its unit.
        before: of the first run.
        after: of the second.
        low: lower bound of `after` over `before`, with 95 % confidence; None: too few sessions.
        high: the upper bound.
        more_is_better: whether a larger one is better.
    """

    name: str
    unit: str
    before: float
    after: float
    low: float | None
    high: float | None
    more_is_better: bool

    @property
    def ratio(self) -> float:
        """`after` over `before`."""
        return self.after / self.before if self.before else float("nan")

    @property
    def verdict(self) -> str:
        """`better` or `worse`, where the interval leaves no doubt; else `no difference shown`."""
        if self.low is None or self.high is None or self.low <= 1.0 <= self.high:
            return "no difference shown"
        return "better" if (self.low > 1.0) == self.more_is_better else "worse"


def compare(before: RunFile, after: RunFile, seed: int = 0, draws: int = DRAWS) -> list[Change]:
    """Return what changed between two runs.

    Args:
        before: the first.
        after: the second; its limits are the SLO of both.
        seed: seed of the draws.
        draws: how many.
    """
    rng = np.random.default_rng(seed)
    changes = []
    for name, unit, values, statistic, more_is_better in _BY_SESSION:
        pair = [_grouped(run.measured, values) for run in (before, after)]
        if all(len(groups) for groups in pair):
            drawn = [_drawn(groups, statistic, rng, draws) for groups in pair]
            exact = [float(statistic(np.concatenate(groups))) for groups in pair]
            changes.append(_change(name, unit, exact, drawn, [len(groups) for groups in pair], more_is_better))
    slo = after.slo
    counted: Mapping[str, tuple[str, Callable[[RequestRecord], float]]] = {
        "output tokens": ("1/s", lambda record: record.output_tokens if record.is_answered else 0.0),
        "answers": ("1/s", lambda record: float(record.is_answered)),
        "goodput": ("1/s", lambda record: float(slo.is_met(record))),
    }
    for name, (unit, value) in counted.items():
        sliced = [_slices(run, value) for run in (before, after)]
        drawn = [each[rng.integers(0, _SLICES, (draws, _SLICES))].mean(axis=1) for each in sliced]
        exact = [float(each.mean()) for each in sliced]
        changes.append(_change(name, unit, exact, drawn, [_SLICES, _SLICES], more_is_better=True))
    return changes


def _ttft(record: RequestRecord) -> float | None:
    return record.ttft_s


def _tpot(record: RequestRecord) -> float | None:
    return record.tpot_s


def _latency(record: RequestRecord) -> float | None:
    return record.latency_s


def _longest_gap(record: RequestRecord) -> float | None:
    return record.longest_gap_s or None


def _cached(record: RequestRecord) -> float | None:
    if record.cached_tokens is None or not record.prompt_tokens:
        return None
    return record.cached_tokens / record.prompt_tokens


def _quantile(share: float) -> Statistic:
    return lambda values: np.quantile(values, share, axis=-1)


def _mean(values: Column) -> Any:  # noqa: ANN401 - a number, or a column of them
    return values.mean(axis=-1)


_BY_SESSION: Final[Sequence[tuple[str, str, Callable[[RequestRecord], float | None], Statistic, bool]]] = (
    ("TTFT mean", "s", _ttft, _mean, False),
    ("TTFT p50", "s", _ttft, _quantile(0.5), False),
    ("TTFT p99", "s", _ttft, _quantile(0.99), False),
    ("TPOT mean", "s", _tpot, _mean, False),
    ("TPOT p99", "s", _tpot, _quantile(0.99), False),
    ("longest gap p99", "s", _longest_gap, _quantile(0.99), False),
    ("latency mean", "s", _latency, _mean, False),
    ("cached share of a prompt", "", _cached, _mean, True),
)


def _grouped(records: Sequence[RequestRecord], value: Callable[[RequestRecord], float | None]) -> list[Column]:
    """Return the values of whole answers, an array for each session that has any."""
    found: dict[int, list[float]] = {}
    for record in records:
        if record.is_answered and (each := value(record)) is not None:
            found.setdefault(record.session, []).append(each)
    return [np.asarray(values) for values in found.values()]


def _drawn(groups: list[Column], statistic: Statistic, rng: np.random.Generator, draws: int) -> Column:
    """Return the statistic of `draws` samples of as many sessions, drawn with replacement."""
    count = len(groups)
    if any(len(group) > 1 for group in groups):
        places = rng.integers(0, count, (draws, count))
        return np.asarray([statistic(np.concatenate([groups[place] for place in row])) for row in places])
    values = np.concatenate(groups)
    at_once = max(1, _MOST_DRAWN // count)
    parts = [
        statistic(values[rng.integers(0, count, (min(at_once, draws - done), count))])
        for done in range(0, draws, at_once)
    ]
    return np.concatenate(parts)


def _slices(run: RunFile, value: Callable[[RequestRecord], float]) -> Column:
    """Return what was reached a second in each of `_SLICES` equal parts of a run, by when answers ended."""
    measured = run.measured
    first_s = min((record.sent_s for record in measured), default=0.0)
    length_s = max(run.seconds, 1e-9) / _SLICES
    sums = np.zeros(_SLICES)
    for record in measured:
        sums[min(_SLICES - 1, max(0, int((record.last_s - first_s) / length_s)))] += value(record)
    return sums / length_s


def _change(  # noqa: PLR0913, PLR0917 - two runs' values
    name: str,
    unit: str,
    exact: list[float],
    drawn: list[Column],
    counts: list[int],
    more_is_better: bool,  # noqa: FBT001
) -> Change:
    low = high = None
    if min(counts) >= _FEWEST and (drawn[0] > 0).all():
        ratios = drawn[1] / drawn[0]
        tail = (1.0 - CONFIDENCE) / 2
        low, high = (float(value) for value in np.quantile(ratios, (tail, 1.0 - tail)))
    return Change(name, unit, exact[0], exact[1], low, high, more_is_better)
