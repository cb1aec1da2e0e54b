"""The fit finds coefficients again that made the measurements."""

from dataclasses import replace

import pytest

from cluster.cost_fit.cross_validation import foreseen_by
from cluster.cost_fit.fitting import Fitting
from cluster.cost_fit.points import weights_of
from cluster.cost_fit.terms import TERMS
from cluster.foresight.estimate import loop_times
from cluster.foresight.serving_point import serving_point
from cluster.foresight.serving_row import ServingRow
from cluster.replica_cost.layout import Layout
from cluster.step_time.coefficients import NAMES


def _rows(pace: float) -> list[ServingRow]:
    """Return rows that measure what the checked-in coefficients say, but for one version's pace."""
    rows = []
    for model, hardware in (("openai/gpt-oss-120b", "h100"), ("meta-llama/Llama-3.1-8B-Instruct", "b200")):
        for version in ("9.1", "9.2"):
            for concurrency in (4, 16, 64, 128):
                point = serving_point(
                    model,
                    hardware,
                    layout=Layout(tensor=2),
                    version=version,
                    input_tokens=1024,
                    output_tokens=1024,
                    concurrency=concurrency,
                )
                times = loop_times(point)
                tpot_s = times.tpot_s * (pace if version == "9.2" else 1.0)
                rows.append(ServingRow("x", model, hardware, point, times.ttft_s, tpot_s, "", is_ttft_told=True))
    return rows


def test_every_coefficient_has_a_prior() -> None:
    """The fit and the cost model name the same coefficients."""
    assert tuple(TERMS) == NAMES


def test_measurements_of_the_model_itself_are_explained() -> None:
    """From the priors a fit to sixteen rows comes near every time between tokens, and sees which version is slower."""
    rows = _rows(pace=1.15)
    fitted = Fitting(rows).run()
    assert all(abs(each.tpot) < 0.15 for each in foreseen_by(fitted, rows))
    slow, fast = (fitted.deviations[f"vllm {version}"]["decode_pace"] for version in ("9.2", "9.1"))
    assert slow > 1.03 * fast


def test_a_version_that_was_not_fitted_has_the_engines_values() -> None:
    """Rows of another version are foreseen without deviations of any."""
    rows = _rows(pace=1.0)
    fitted = Fitting(rows).run()
    other = [replace(row, point=replace(row.point, version="10")) for row in rows[:1]]
    known = [each.tpot for each in foreseen_by(fitted, rows[:1])]
    assert [each.tpot for each in foreseen_by(fitted, other)] == pytest.approx(known, abs=0.05)


def test_twins_count_once_and_many_alike_as_their_root() -> None:
    """Two copies of one measurement weigh as one; four rows of a kind weigh as two."""
    rows = _rows(pace=1.0)
    four = rows[:4]
    assert weights_of(four).sum() == pytest.approx(2.0)
    assert weights_of([*four, *four]).sum() == pytest.approx(2.0)
