"""Fits without some of the measurements and foresees those: what a held-back measurement will find.

Three ways to leave rows out stand for three kinds of what was never seen: a whole accelerator, a model on an
accelerator, and a
random fifth. Rows that give the same measurement twice are left out together; so are names of models of one shape.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np

from cluster.cost_fit.fitting import Fitted, Fitting, coefficients_from
from cluster.cost_fit.points import Floats, points_of, version_of
from cluster.foresight.serving_row import ServingRow
from cluster.step_time.coefficients import NAMES

FOLDS: Final = 5
UNSEEN_HARDWARE: Final = ("gb200", "b300")
"""Accelerators that stand for one that nobody has measured yet: the nearest to GB300."""


@dataclass(frozen=True, slots=True)
class Missed:
    """How far a held-back row was from what was foreseen.

    Attributes:
        row: the row.
        tpot: logarithm of foreseen over measured TPOT.
        tokens_per_s: the same of tokens a second.
        ttft: the same of TTFT.
    """

    row: ServingRow
    tpot: float
    tokens_per_s: float
    ttft: float


def foreseen_by(fitted: Fitted, rows: Sequence[ServingRow]) -> list[Missed]:
    """Return how far rows are from what fitted coefficients foresee."""
    found = []
    for points in points_of(rows, ()):
        logs = np.array([[np.log(_value(fitted, name, row)) for row in points.rows] for name in NAMES])
        errors: Floats = points.log_errors(coefficients_from(logs))
        found += [Missed(row, *map(float, column)) for row, column in zip(points.rows, errors.T, strict=True)]
    return found


def _value(fitted: Fitted, name: str, row: ServingRow) -> float:
    value = fitted.shared[name]
    for key in (row.point.engine, row.point.hardware.generation, version_of(row)):
        value *= fitted.deviations.get(key, {}).get(name, 1.0)
    return value


def cross_validated(rows: Sequence[ServingRow], start: Fitted, folds: int = FOLDS) -> Mapping[str, list[Missed]]:
    """Return how far rows are from what is foreseen without them, by the way that they were left out.

    Args:
        rows: rows that are scored.
        start: where each fit begins; a fit to all rows is near, and does not change what is found.
        folds: parts of the two ways that leave every row out once.
    """
    found: dict[str, list[Missed]] = {}
    for way, held_back in _ways(rows, folds):
        kept = [row for row in rows if id(row) not in held_back]
        left = [row for row in rows if id(row) in held_back]
        found.setdefault(way, []).extend(foreseen_by(Fitting(kept).run(start), left))
    return found


def _ways(rows: Sequence[ServingRow], folds: int) -> Iterator[tuple[str, set[int]]]:
    for hardware in UNSEEN_HARDWARE:
        yield f"unseen {hardware}", {id(row) for row in rows if row.point.hardware.name == hardware}
    for way, key in (("unseen model and GPU", _pair), ("random fifth", _measurement)):
        keys = sorted({key(row) for row in rows})
        Random(7).shuffle(keys)  # noqa: S311 - a seeded order, no secret
        for fold in range(folds):
            chosen = set(keys[fold::folds])
            yield way, {id(row) for row in rows if key(row) in chosen}


def _pair(row: ServingRow) -> tuple[float | str, ...]:
    """Return the model, by its shape, and the accelerator."""
    return row.point.shape.parameters, row.point.hardware.name


def _measurement(row: ServingRow) -> tuple[float | str, ...]:
    return row.ttft_s, row.tpot_s, row.point.concurrency
