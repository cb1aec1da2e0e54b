"""Adds up how far what is foreseen is from what was measured: medians, and how often the interval held."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from cluster.cost_fit.cross_validation import Missed
from cluster.foresight.estimate import loop_times
from cluster.foresight.interval import Quantity, spread
from cluster.foresight.serving_row import ServingRow


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of some rows; each is the median of |foreseen / measured - 1|, or the share of rows within the interval.

    Attributes:
        title: which rows.
        rows: their number.
        tokens_per_s: error of the tokens a second for each GPU.
        tpot: error of the time between tokens.
        ttft: error of the time to the first token; nan where no row tells it.
        tokens_per_s_held: share within the interval of tokens a second.
        tpot_held: the same of the time between tokens.
        ttft_held: the same of the time to the first token.
    """

    title: str
    rows: int
    tokens_per_s: float
    tpot: float
    ttft: float
    tokens_per_s_held: float
    tpot_held: float
    ttft_held: float


def missed(row: ServingRow) -> Missed:
    """Return how far a row is from what is foreseen with the coefficients that are checked in."""
    times = loop_times(row.point)
    rate = times.tokens_per_s / row.point.gpus / row.tokens_per_s_per_gpu
    return Missed(row, math.log(times.tpot_s / row.tpot_s), math.log(rate), math.log(times.ttft_s / row.ttft_s))


def scores(errors: Sequence[Missed]) -> list[Score]:
    """Return the scores of all rows, of each engine, of each accelerator and of each engine on each accelerator."""
    engines = sorted({each.row.point.engine for each in errors})
    systems = sorted({each.row.point.hardware.name for each in errors})
    found = [score("all", errors)]
    found += [score(engine, _those(errors, engine)) for engine in engines]
    found += [score(system, _those(errors, "", system)) for system in systems]
    both = ((engine, system) for engine in engines for system in systems)
    parts = ((f"{engine} {system}", _those(errors, engine, system)) for engine, system in both)
    return [*found, *(score(title, part) for title, part in parts if part)]


def score(title: str, errors: Sequence[Missed]) -> Score:
    """Return the score of some rows.

    Args:
        title: which rows.
        errors: how far each is from what is foreseen.
    """
    told = [each for each in errors if each.row.is_ttft_told]
    return Score(
        title=title,
        rows=len(errors),
        tokens_per_s=_typical(each.tokens_per_s for each in errors),
        tpot=_typical(each.tpot for each in errors),
        ttft=_typical(each.ttft for each in told),
        tokens_per_s_held=_share(_held(each, each.tokens_per_s, Quantity.TOKENS_PER_S) for each in errors),
        tpot_held=_share(_held(each, each.tpot, Quantity.TPOT) for each in errors),
        ttft_held=_share(_held(each, each.ttft, Quantity.TTFT) for each in told),
    )


def spreads(errors: Iterable[Missed], share: float = 0.8) -> dict[str, dict[str, dict[str, float]]]:
    """Return the largest log error of `share` of the rows, by kind, engine and quantity; `any` is of all engines.

    Args:
        errors: how far held-back rows were from what was foreseen without them.
        share: share of the rows that the interval is to hold.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    those = list(errors)
    for kind, is_apart in (("together", False), ("apart", True)):
        of_kind = [each for each in those if (each.row.point.prefill is not None) == is_apart]
        engines = sorted({each.row.point.engine for each in of_kind})
        for engine in ("any", *engines):
            part = of_kind if engine == "any" else _those(of_kind, engine)
            if len(part) >= _LEAST_ROWS or engine == "any":
                found.setdefault(kind, {})[engine] = {
                    Quantity.TOKENS_PER_S.value: _largest((each.tokens_per_s for each in part), share),
                    Quantity.TPOT.value: _largest((each.tpot for each in part), share),
                    Quantity.TTFT.value: _largest((each.ttft for each in part if each.row.is_ttft_told), share),
                }
    return found


_LEAST_ROWS = 30


def _those(errors: Iterable[Missed], engine: str = "", system: str = "") -> list[Missed]:
    return [
        each
        for each in errors
        if engine in {"", each.row.point.engine} and system in {"", each.row.point.hardware.name}
    ]


def _held(each: Missed, error: float, quantity: Quantity) -> bool:
    kind = "apart" if each.row.point.prefill else "together"
    return abs(error) <= spread(quantity, each.row.point.engine, kind)


def _typical(logs: Iterable[float]) -> float:
    found = [abs(math.expm1(log)) for log in logs]
    return median(found) if found else math.nan


def _largest(logs: Iterable[float], share: float) -> float:
    found = sorted(abs(log) for log in logs)
    return found[min(len(found) - 1, int(share * len(found)))]


def _share(held: Iterator[bool] | Iterable[bool]) -> float:
    found = list(held)
    return sum(found) / len(found) if found else math.nan
