"""The tables of `bench-gateway` for people."""

from collections.abc import Mapping

from rich.table import Table

from tests.benchmarks.gateway.contestants import OURS
from tests.benchmarks.gateway.promises import better_peer_us
from tests.benchmarks.gateway.shapes import LATENCY
from tests.benchmarks.rounds import Figures


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.0f}"


def shape_table(name: str, figures: Figures) -> Table:
    """Return one shape's figures: CPU time's lowest of the rounds, of all else the median."""
    table = Table(title=name, title_justify="left", title_style="bold")
    table.add_column("")
    for figure_name, figure in next(iter(figures.values())).items():
        table.add_column(f"{figure_name}\n{figure.unit}", justify="right")
    for who, row in figures.items():
        cells = [_number(each.lowest if key == "cpu" else each.median) for key, each in row.items()]
        table.add_row(who, *cells)
    return table


def cpu_table(figures: Mapping[str, Figures]) -> Table:
    """Return everybody's CPU microseconds a request on every shape; of ours also the ratio to the better peer's."""
    shapes = {name: rows for name, rows in figures.items() if name != LATENCY}
    table = Table(
        title="gateway CPU, µs a request (lowest of the rounds; ours also over the better peer's)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for name in shapes:
        table.add_column(name, justify="right")
    for who in next(iter(shapes.values()), {}):
        cells = []
        for rows in shapes.values():
            cpu, peer = rows[who]["cpu"].lowest, better_peer_us(rows)
            ratio = f" ({cpu / peer:.2f})" if peer and who in OURS else ""
            cells.append(f"{_number(cpu)}{ratio}")
        table.add_row(who, *cells)
    return table
