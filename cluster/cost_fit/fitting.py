"""Fits coefficients and their deviations by a damped Gauss-Newton method (Levenberg and Marquardt) on log errors.

Errors count by a loss that grows linearly beyond about their usual size, so rows that no model explains pull little. A
coefficient's effect is measured once for all rows; that of an engine's, a generation's or a version's deviation is
the same
numbers, on its own rows alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from cluster.cost_fit.points import GENERATIONS, Floats, Points, points_of, version_of
from cluster.cost_fit.terms import TERMS
from cluster.foresight.serving_row import ServingRow
from cluster.step_time.coefficients import ENGINES, NAMES, Coefficients

_USUAL: Final = np.array([[0.12], [0.12], [0.25]])
"""Usual log errors of TPOT, tokens a second and TTFT, beyond which they count linearly."""

_COUNTS: Final = np.array([[1.0], [0.7], [0.35]])
"""How much each of the three counts."""

_STEP: Final = 1e-4
_MOST_STEP: Final = 1.0
_ROUNDS: Final = 20
_TRIES: Final = 7
_ENOUGH: Final = 3e-4


@dataclass(frozen=True, slots=True)
class Fitted:
    """Fitted coefficients.

    Attributes:
        shared: values that all share, by name.
        deviations: factors by engine, generation or engine and version, and by name.
    """

    shared: Mapping[str, float]
    deviations: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class _Level:
    """Deviations of one coefficient: of engines, generations or versions.

    Attributes:
        term: the coefficient's position.
        name: the level.
        start: position of the first deviation among all unknowns.
        keys: what each deviation belongs to.
    """

    term: int
    name: str
    start: int
    keys: tuple[str, ...]


class Fitting:
    """The unknowns of a fit and their priors.

    Args:
        rows: the rows to fit.
    """

    def __init__(self, rows: Sequence[ServingRow]) -> None:
        self.versions = tuple(sorted({version_of(row) for row in rows}))
        self._prior = [float(np.log(TERMS[name].value)) for name in NAMES]
        self._wide = [TERMS[name].wide for name in NAMES]
        self._levels = list(self._make_levels())
        self.prior, self.wide = np.array(self._prior), np.array(self._wide)
        self.points = points_of(rows, self.versions)

    def _make_levels(self) -> Iterator[_Level]:
        keys = {"engine": ENGINES, "generation": GENERATIONS, "version": self.versions}
        for position, name in enumerate(NAMES):
            for level, those in keys.items():
                wide = getattr(TERMS[name], level)
                if wide:
                    yield _Level(position, level, len(self._prior), those)
                    self._prior += [0.0] * len(those)
                    self._wide += [wide] * len(those)

    def logs(self, unknowns: Floats, points: Points) -> Floats:
        """Return the logarithm of each coefficient for each row, a row of each coefficient."""
        found = np.repeat(unknowns[: len(NAMES), None], len(points.rows), axis=1)
        for level in self._levels:
            # A version that was not fitted comes after all others, and has no deviation.
            values = np.append(unknowns[level.start : level.start + len(level.keys)], 0.0)
            found[level.term] += values[points.levels[level.name]]
        return found

    def run(self, start: Fitted | None = None) -> Fitted:
        """Return the fitted coefficients.

        Args:
            start: where to begin: a fit to other rows is near. It changes how long the fit takes, not what it finds.
        """
        unknowns, damping = self.prior.copy() if start is None else self._unknowns(start), 0.01
        residuals, cost = self._residuals(unknowns)
        for _ in range(_ROUNDS):
            slopes = self._slopes(unknowns)
            stiff = 1 / self.wide**2
            normal = slopes.T @ slopes + np.diag(stiff)
            pull = slopes.T @ residuals + stiff * (unknowns - self.prior)
            for _ in range(_TRIES):
                change = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), pull)
                tried = unknowns + np.clip(change, -_MOST_STEP, _MOST_STEP)
                new_residuals, new_cost = self._residuals(tried)
                if np.isfinite(new_cost) and new_cost < cost:
                    break
                damping *= 4
            else:
                break
            gain = (cost - new_cost) / cost
            unknowns, residuals, cost, damping = tried, new_residuals, new_cost, max(damping / 5, 1e-5)
            if gain < _ENOUGH:
                break
        return self._fitted(unknowns)

    def _unknowns(self, start: Fitted) -> Floats:
        found = self.prior.copy()
        found[: len(NAMES)] = [np.log(start.shared[name]) for name in NAMES]
        for level in self._levels:
            for number, key in enumerate(level.keys):
                factor = start.deviations.get(key, {}).get(NAMES[level.term], 1.0)
                found[level.start + number] = np.log(factor)
        return found

    def _residuals(self, unknowns: Floats) -> tuple[Floats, float]:
        """Return the residuals of all rows, and the cost: their squares and those of the priors."""
        found = np.concatenate([_of(points, self.logs(unknowns, points)).ravel() for points in self.points])
        return found, float(found @ found + (((unknowns - self.prior) / self.wide) ** 2).sum())

    def _slopes(self, unknowns: Floats) -> Floats:
        blocks = []
        for points in self.points:
            logs, count = self.logs(unknowns, points), len(points.rows)
            base = _of(points, logs)
            block = np.zeros((base.size, len(unknowns)))
            for position in range(len(NAMES)):
                moved = logs.copy()
                moved[position] += _STEP
                column = ((_of(points, moved) - base) / _STEP).ravel()
                block[:, position] = column
                for level in self._levels:
                    if level.term != position:
                        continue
                    places = np.tile(points.levels[level.name], base.size // count)
                    known = places < len(level.keys)
                    block[np.nonzero(known)[0], level.start + places[known]] = column[known]
            blocks.append(block)
        return np.concatenate(blocks)

    def _fitted(self, unknowns: Floats) -> Fitted:
        shared = {name: float(np.exp(unknowns[position])) for position, name in enumerate(NAMES)}
        deviations: dict[str, dict[str, float]] = {}
        for level in self._levels:
            for number, key in enumerate(level.keys):
                factor = float(np.exp(unknowns[level.start + number]))
                deviations.setdefault(key, {})[NAMES[level.term]] = factor
        return Fitted(shared, deviations)


def _of(points: Points, logs: Floats) -> Floats:
    """Return the residuals of some rows for logarithms of coefficients, robust and weighted: three rows of them."""
    errors = points.log_errors(coefficients_from(logs)) / _USUAL
    robust = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
    counts = _COUNTS * np.sqrt(points.weight)
    counts[2] *= points.ttft_weight
    return cast("Floats", counts * robust)


def coefficients_from(logs: Floats) -> Coefficients:
    """Return arrays of coefficients from their logarithms, a row of each coefficient."""
    values: dict[str, Any] = dict(zip(NAMES, np.exp(logs), strict=True))
    return Coefficients(**values)
