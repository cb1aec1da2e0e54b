"""Fits the cost model to measured serving points, or scores it on them.

    python -m deployments.cost_fit score FILE.csv [--into README.md]
    python -m deployments.cost_fit fit FILE.csv [--folds 3]

`fit` writes `cluster/step_time/fitted.py` and the report `cluster/cost_fit/REPORT.md`; it takes about a minute for each
of the fits without a part of the rows. `make format` puts the written module in its format.
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cluster.cost_fit.cross_validation import Missed, cross_validated, foreseen_by
from cluster.cost_fit.fitting import Fitted, Fitting
from cluster.cost_fit.scorecard import Score, missed, score, scores, spreads
from cluster.errors import ModelShapeError
from cluster.foresight.serving_row import ServingRow, serving_row, with_campaigns
from cluster.step_time.fitted import DEVIATIONS, SHARED
from deployments.cost_fit.mlperf_table import mlperf_lines
from deployments.cost_fit.page import put_into

ROOT = Path(__file__).resolve().parents[2]
FITTED = ROOT / "cluster" / "step_time" / "fitted.py"
REPORT = ROOT / "cluster" / "cost_fit" / "REPORT.md"
_LEAST_DEVIATION = 0.02
_HEAD = "| rows | number | tokens/s/GPU | TPOT | TTFT | held |"
_RULE = "|---|---|---|---|---|---|"


def read_rows(file: Path) -> tuple[list[ServingRow], Counter[str]]:
    """Return the rows of a file that are scored, and the number of the others by why they are not.

    Args:
        file: a csv file with AIConfigurator's columns.
    """
    found: list[ServingRow] = []
    untold: Counter[str] = Counter()
    with file.open(newline="", encoding="utf-8") as lines:
        for line in csv.DictReader(lines):
            try:
                found.append(serving_row(line))
            except (ModelShapeError, ValueError) as error:
                untold[str(error).partition(";")[0]] += 1
    rows = with_campaigns(found)
    untold.update(row.why_untold for row in rows if row.why_untold)
    return [row for row in rows if not row.why_untold], untold


def table(found: Iterable[Score]) -> list[str]:
    """Return scores as lines of a table in Markdown; `held` is the share within the intervals, of each quantity."""
    return [
        _HEAD,
        _RULE,
        *(
            f"| {each.title} | {each.rows} | {each.tokens_per_s:.3f} | {each.tpot:.3f} | {each.ttft:.3f} "
            f"| {each.tokens_per_s_held:.0%}, {each.tpot_held:.0%}, {each.ttft_held:.0%} |"
            for each in found
        ),
    ]


def why_lines(untold: Mapping[str, int]) -> list[str]:
    """Return lines that say how many rows are not scored, and why."""
    return [f"- {count} rows: {why}" for why, count in sorted(untold.items(), key=lambda item: -item[1])]


def _score(file: Path) -> list[str]:
    told, untold = read_rows(file)
    rules = "Not scored, by the rules of `cluster/foresight/serving_row.py`:"
    return [*table(scores([missed(row) for row in told])), "", rules, "", *why_lines(untold)]


def _fit(file: Path, folds: int) -> list[str]:
    told, untold = read_rows(file)
    fitted = Fitting(told).run(Fitted(SHARED, DEVIATIONS) if SHARED else None)
    held_back = cross_validated(told, fitted, folds)
    unseen = [each for way, errors in held_back.items() if way.startswith("unseen") for each in errors]
    found = spreads(unseen)
    _write(fitted, found)
    report = _report(file, told, untold, fitted, held_back)
    REPORT.write_text("\n".join(report) + "\n", encoding="utf-8")
    return report


def _report(
    file: Path,
    told: Sequence[ServingRow],
    untold: Mapping[str, int],
    fitted: Fitted,
    held_back: Mapping[str, Sequence[Missed]],
) -> list[str]:
    lines = [
        "# The fit of the cost model, as it was made",
        "",
        f"Written by `python -m deployments.cost_fit fit {file.name}`: {len(told)} rows, median errors.",
        "",
        *table([score("seen by the fit", foreseen_by(fitted, told))]),
        "",
    ]
    for way, errors in held_back.items():
        engines = sorted({each.row.point.engine for each in errors})
        lines += [f"## {way[:1].upper()}{way[1:]}, foreseen by fits without", ""]
        lines += table(
            [
                score("all", errors),
                *(score(engine, [each for each in errors if each.row.point.engine == engine]) for engine in engines),
                *(
                    score("prefill apart", part)
                    for part in [[each for each in errors if each.row.point.prefill]]
                    if part
                ),
            ]
        )
        lines += [""]
    shared = [f"| `{name}` | {value:.4g} |" for name, value in fitted.shared.items()]
    return [
        *lines,
        "## Rows that are not scored",
        "",
        *why_lines(untold),
        "",
        "## Shared coefficients",
        "",
        "| coefficient | value |",
        "|---|---|",
        *shared,
    ]


def _write(fitted: Fitted, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Write fitted values as a module; deviations below two percent are left out."""
    deviations = {
        key: {name: round(value, 4) for name, value in sorted(those.items()) if abs(value - 1) >= _LEAST_DEVIATION}
        for key, those in sorted(fitted.deviations.items())
    }
    told = {key: each for key, each in deviations.items() if each}
    shared = {name: float(f"{value:.5g}") for name, value in fitted.shared.items()}
    text = [
        '"""Fitted values of the cost model; written by `python -m deployments.cost_fit fit`."""',
        "",
        "from collections.abc import Mapping",
        "from typing import Final",
        "",
        f"SHARED: Final[Mapping[str, float]] = {_dict(shared)}",
        '"""Value of each coefficient that all engines and GPUs share."""',
        "",
        f"DEVIATIONS: Final[Mapping[str, Mapping[str, float]]] = {_nested(told)}",
        '"""Factors on them by engine, by generation of GPU, and by engine and version."""',
        "",
        f"SPREADS: Final[Mapping[str, Mapping[str, Mapping[str, float]]]] = {_thrice(found)}",
        '"""Largest log error of four of five held-back rows: by whether prefill is apart, by engine, by quantity."""',
    ]
    FITTED.write_text("\n".join(text) + "\n", encoding="utf-8")


def _dict(values: Mapping[str, float]) -> str:
    return "{" + "".join(f'"{name}": {value!r},\n' for name, value in values.items()) + "}"


def _nested(values: Mapping[str, Mapping[str, float]]) -> str:
    return "{" + "".join(f'"{key}": {_dict(each)},\n' for key, each in values.items()) + "}"


def _thrice(values: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rounded = {
        kind: {engine: {name: round(each, 3) for name, each in those.items()} for engine, those in engines.items()}
        for kind, engines in values.items()
    }
    return "{" + "".join(f'"{kind}": {_nested(each)},\n' for kind, each in rounded.items()) + "}"


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployments.cost_fit", description=__doc__)
    parser.add_argument("what", choices=("fit", "score"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--folds", type=int, default=3, help="parts of the ways that leave each row out once")
    parser.add_argument("--into", type=Path, help="a page with both marks; what lies between is replaced")
    asked = parser.parse_args(arguments)
    lines = _fit(asked.file, asked.folds) if asked.what == "fit" else _score(asked.file)
    if asked.into:
        put_into(asked.into, "planner", lines)
        if asked.what == "score":
            put_into(asked.into, "mlperf", mlperf_lines())
    print("\n".join(lines))  # noqa: T201 - the command's answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
