"""Prints rows as a table where every cell fits into the terminal's width, and as one block a row where not.

An id that is cut or spread over lines cannot be read or copied, so no cell ever is.
"""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

BORDER = 3
"""Characters that a column takes besides its cells: a line and a blank on both sides."""


def print_rows(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their headings.

    Args:
        console: where to print; its width decides the form.
        headings: the columns' headings; the first column names the row.
        rows: the cells of each row, as many as there are headings.
    """
    if not rows:
        return
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    if sum(widths) + BORDER * len(widths) + 1 <= console.width:
        table = Table()
        for heading in headings:
            table.add_column(Text(heading))
        for row in rows:
            table.add_row(*(Text(cell, no_wrap=True) for cell in row))
        console.print(table)
        return
    for row in rows:
        _print_block(console, headings, row)


def _print_block(console: Console, headings: Sequence[str], row: Sequence[str]) -> None:
    """Print a row as its first cell and, indented, the others with their headings, as many a line as fit."""
    console.print(Text(f"{headings[0]} {row[0]}"), soft_wrap=True)
    line = ""
    for heading, cell in zip(headings[1:], row[1:], strict=True):
        if not cell:
            continue
        part = f"{heading} {cell}"
        if line and cell_len(line) + 2 + cell_len(part) > console.width:
            console.print(Text(line), soft_wrap=True)
            line = ""
        line = f"{line}, {part}" if line else f"  {part}"
    if line:
        console.print(Text(line), soft_wrap=True)
