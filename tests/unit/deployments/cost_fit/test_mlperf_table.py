"""The scorecard's table of MLPerf's rows, and the page that it is written into."""

from pathlib import Path

import pytest

from cluster.foresight.mlperf_rows import PUBLISHED_ROWS
from deployments.cost_fit.mlperf_table import mlperf_lines
from deployments.cost_fit.page import put_into


def test_a_row_has_both_figures_and_the_last_line_the_bars() -> None:
    """Two rows: each with what was published and by how much it is missed, then their median and the larger one."""
    rows = PUBLISHED_ROWS[3:5]
    lines = mlperf_lines(rows)
    errors = sorted(abs(row.error) for row in rows)
    assert [f"{row.tokens_per_s_per_gpu:,.1f}" in line for row, line in zip(rows, lines[2:], strict=False)] == [
        True
    ] * 2
    assert all(f"{row.error:+.1%}" in line for row, line in zip(rows, lines[2:], strict=False))
    assert f"Median {sum(errors) / 2:.3f}" in lines[-1]
    assert f"largest {errors[-1]:.3f}" in lines[-1]


def test_lines_replace_what_lies_between_their_marks(tmp_path: Path) -> None:
    """What is before and after stays, twice too; a page without the marks is refused."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- part -->\nold\n<!-- end of part -->\nafter\n")
    for lines in (["one"], ["two", "three"]):
        put_into(page, "part", lines)
    assert page.read_text() == "before\n<!-- part -->\ntwo\nthree\n<!-- end of part -->\nafter\n"
    with pytest.raises(SystemExit, match="other"):
        put_into(page, "other", ["x"])
