"""Many measured points in one record of arrays, so that the cost model computes all of them at once.

The cost model's functions use arithmetic alone; what is a number for one replica is an array here, in the order of the
rows. Types say `float` for both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cluster.foresight.serving_row import ServingRow
from cluster.step_time.closed_loop import LoopReplica, LoopTimes, Requests, apart, together
from cluster.step_time.coefficients import ENGINES, Coefficients
from cluster.step_time.figures import ReplicaSizes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Record = TypeVar("Record")

GENERATIONS: Final = ("hopper", "blackwell")


@dataclass(frozen=True, slots=True)
class Points:
    """Measured points, all of one kind: prompts and answers at the same replicas, or apart.

    Attributes:
        rows: the rows.
        is_apart: whether prompts and answers are computed by different replicas.
        decode: figures of the replicas for answers, or for both.
        prefill: figures of the replicas for prompts; those of `decode` where there are none.
        requests: the closed loops.
        room: sequences that the caches of a decode replica hold.
        workers: numbers of prefill and of decode replicas.
        separate: 1 where the engine keeps prompts and answers in steps of their own.
        levels: position of each row's engine, generation and version, by the name of the level.
        weight: how much each row counts.
        ttft_weight: how much its time to the first token counts.
        log_measured: logarithms of the measured TPOT, tokens a second and TTFT, a row of each.
    """

    rows: tuple[ServingRow, ...]
    is_apart: bool
    decode: ReplicaSizes
    prefill: ReplicaSizes
    requests: Requests
    room: Floats
    workers: tuple[Floats, Floats]
    separate: Floats
    levels: dict[str, Integers]
    weight: Floats
    ttft_weight: Floats
    log_measured: Floats

    def times(self, coefficients: Coefficients) -> LoopTimes:
        """Return what the cost model foresees, as arrays.

        Args:
            coefficients: arrays of coefficients, a value for each row.
        """
        step = cast("float", np.full(len(self.rows), 8192.0))
        separate = cast("float", self.separate)
        decode = LoopReplica(self.decode, coefficients, separate, step)
        room = cast("float", self.room)
        if not self.is_apart:
            return together(decode, self.requests, room)
        workers = cast("tuple[float, float]", self.workers)
        return apart(LoopReplica(self.prefill, coefficients, separate, step), decode, self.requests, workers, room)

    def log_errors(self, coefficients: Coefficients) -> Floats:
        """Return logarithms of foreseen over measured: TPOT, tokens a second, TTFT, a row of each."""
        times = self.times(coefficients)
        errors: Floats = np.log(np.array([times.tpot_s, times.tokens_per_s, times.ttft_s])) - self.log_measured
        return errors


def points_of(rows: Sequence[ServingRow], versions: Sequence[str]) -> list[Points]:
    """Return rows as arrays: those of replicas for both, then those with prefill apart; no kind without rows.

    Args:
        rows: the rows.
        versions: engine and version of all rows that are fitted, in an order that numbers them.
    """
    kinds = ([row for row in rows if not row.point.prefill], [row for row in rows if row.point.prefill])
    return [_points(kind, versions) for kind in kinds if kind]


def version_of(row: ServingRow) -> str:
    """Return the engine and version of a row, as deviations are named."""
    return f"{row.point.engine} {row.point.version}"


def weights_of(rows: Sequence[ServingRow]) -> Floats:
    """Return how much each row counts: twins together as one row, and n alike measurements as their square root.

    Rows of one model, GPU and version share most of what the cost model gets wrong, so a hundred of them say less than
    a hundred others would.
    """
    twins = Counter(_measurement(row) for row in rows)
    alone = [1 / twins[_measurement(row)] for row in rows]
    groups: dict[tuple[str, ...], float] = {}
    for row, weight in zip(rows, alone, strict=True):
        groups[_group(row)] = groups.get(_group(row), 0.0) + weight
    return np.array([weight / groups[_group(row)] ** 0.5 for row, weight in zip(rows, alone, strict=True)])


def _measurement(row: ServingRow) -> tuple[float, float, float]:
    return row.ttft_s, row.tpot_s, row.point.concurrency


def _group(row: ServingRow) -> tuple[str, ...]:
    apart_ = "apart" if row.point.prefill else ""
    return version_of(row), apart_, row.model, row.system, row.point.shape.weight_precision.name


def _points(rows: Sequence[ServingRow], versions: Sequence[str]) -> Points:
    points = [row.point for row in rows]
    numbers = {version: number for number, version in enumerate(versions)}
    measured = [(row.tpot_s, row.tokens_per_s_per_gpu * row.point.gpus, row.ttft_s) for row in rows]
    return Points(
        rows=tuple(rows),
        is_apart=points[0].prefill is not None,
        decode=stacked([point.figures(point.decode.layout) for point in points]),
        prefill=stacked([point.figures((point.prefill or point.decode).layout) for point in points]),
        requests=stacked([point.requests for point in points]),
        room=np.array([point.room for point in points]),
        workers=(
            np.array([float(point.prefill.count if point.prefill else 1) for point in points]),
            np.array([float(point.decode.count) for point in points]),
        ),
        separate=np.array([point.separate for point in points]),
        levels={
            "engine": np.array([ENGINES.index(point.engine) for point in points]),
            "generation": np.array([GENERATIONS.index(point.hardware.generation) for point in points]),
            "version": np.array([numbers.get(version_of(row), len(versions)) for row in rows]),
        },
        weight=weights_of(rows),
        ttft_weight=np.array([float(row.is_ttft_told) for row in rows]),
        log_measured=np.log(np.array(measured).T),
    )


def stacked(records: Sequence[Record]) -> Record:
    """Return one record whose fields are the arrays of those of many; records within them likewise."""
    kind: Any = type(records[0])
    found: dict[str, Any] = {}
    for field in fields(kind):
        values = [getattr(record, field.name) for record in records]
        found[field.name] = stacked(values) if is_dataclass(values[0]) else np.array(values, dtype=float)
    return cast("Record", kind(**found))
