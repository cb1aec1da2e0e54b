"""Tables whose cells are whole, however narrow the terminal."""

import io

import pytest
from rich.console import Console

from deployments.commands.status.fitted_table import print_rows

HEADINGS = ["replica", "seconds", "prefill_s", "recompute_s", "others_s"]


def printed(rows: list[list[str]], width: int = 80, headings: list[str] | None = None) -> str:
    """Return what is printed."""
    console = Console(file=io.StringIO(), width=width)
    print_rows(console, headings or HEADINGS, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_fits_is_a_table() -> None:
    """With a heading a column and a line a row, in the terminal's width."""
    lines = printed([["brm05z2t", "0.1", "0.2", "0.3", "0.4"]]).splitlines()
    assert all(heading in lines[1] for heading in HEADINGS)
    assert sum("brm05z2t" in line for line in lines) == 1
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [40, 80, 100])
def test_what_does_not_fit_keeps_ids_and_headings_whole(width: int) -> None:
    """Each id stands in one line and each heading beside its value; only long ids pass the edge."""
    ids = [f"deployment-with-a-long-name-{n}#{'x' * 40}" for n in range(3)]
    text = printed([[each, "0.001732", "0.0001681", "5.5e-09", "7.88e-05"] for each in ids], width)
    lines = text.splitlines()
    assert all(any(each in line for line in lines) for each in ids)
    assert "recompute_s 5.5e-09" in text
    assert "…" not in text
    assert all(len(line) <= width for line in lines if not any(each in line for each in ids))


def test_cells_are_text() -> None:
    """Brackets and emoji codes in names are shown as they are."""
    assert "org/[bold]m:smile:" in printed([["org/[bold]m:smile:", "1", "2", "3", "4"]])
    assert "org/[bold]m" in printed([["org/[bold]m", "1", "2", "3", "4"]], 20)


def test_empty_cells_and_no_rows_print_nothing() -> None:
    """A block names only what there is."""
    assert printed([]) == ""
    assert "others_s" not in printed([["x" * 90, "1", "2", "3", ""]])
