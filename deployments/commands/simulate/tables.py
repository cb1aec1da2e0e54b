"""The tables of `rackserve simulate`."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.commands.simulate.simulated_run import SimulatedRun
from deployments.twin.answer import Figures, TwinAnswer, rows

_WAITS: Final = {
    "replica": "a replica to start",
    "room": "room on a replica",
    "engine": "the engine's batch",
    "prefill": "its prompt's computation",
    "transfer": "its blocks from another replica",
}
WAIT_NAMES: Final[Mapping[str, str]] = _WAITS
"""What each wait was for, by its name in `Waits`."""
_SHOWN_MARKS: Final = 20


def show(outcome: SimulatedRun, console: Console) -> None:
    """Print one run."""
    found = outcome.answer
    table = Table(title=escape(outcome.name), title_justify="left")
    headings = "", "requests", "refused", "in time", "TTFT p50, s", "p99, s", "TPOT p50, ms", "p99, ms", "cached"
    for heading in headings:
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_row("all", *_cells(found.all))
    for kind, named in (("", found.models), ("tenant ", found.tenants)):
        for name, figures in named.items() if len(named) > 1 else ():
            table.add_row(escape(f"{kind}{name}"), *_cells(figures))
    console.print(table)
    waits = found.all.waits
    parts = [
        f"{getattr(waits, name) * 1e3:,.0f} ms for {why}" for name, why in _WAITS.items() if getattr(waits, name) > 0
    ]
    console.print(
        f"Until its first token a request waited {', '.join(parts) or 'for nothing'} on average.", highlight=False
    )
    console.print(
        f"{found.seconds:,.0f} s, {found.output_tokens_per_s:,.0f} output tokens/s, "
        f"{found.tokens_per_s_per_gpu:,.0f} for each of {found.gpus:,.1f} GPUs; {found.gpu_hours:,.2f} GPU-hours; "
        f"at most {found.waiting_peak} requests waited.",
        highlight=False,
    )
    if found.cost:
        console.print(
            f"{found.cost:,.2f} {escape(found.currency)}: {found.per_million:,.3f} a million tokens, "
            f"{found.per_million_output:,.3f} a million output tokens.",
            highlight=False,
        )
    _show_events(found, console)


def _show_events(found: TwinAnswer, console: Console) -> None:
    if found.replicas_lost or found.resent:
        console.print(
            f"{found.replicas_lost} replicas were lost; {found.resent} requests went elsewhere.", highlight=False
        )
    if found.unplaced_s:
        console.print(f"Replicas waited {found.unplaced_s:,.0f} s for machines.", highlight=False)
    for refusal, count in found.all.refused.items():
        console.print(f"refused as {refusal}: {count}", style="yellow", highlight=False)
    for at_s, what in found.marks[:_SHOWN_MARKS]:
        console.print(f"  {at_s:10,.1f} s  {escape(what)}", style="dim", highlight=False)
    if len(found.marks) > _SHOWN_MARKS:
        console.print(f"  … and {len(found.marks) - _SHOWN_MARKS} more: --json lists them", style="dim")


def compare(outcomes: Sequence[SimulatedRun], console: Console) -> None:
    """Print runs beside one another, and what the last of two differs by."""
    table = Table("", title_justify="left")
    for outcome in outcomes:
        table.add_column(escape(outcome.name), justify="right")
    is_pair = len(outcomes) == 2  # noqa: PLR2004 - a pair
    if is_pair:
        table.add_column("change", justify="right")
    for name, values, unit in compared(outcomes):
        cells = [f"{value:,.4g}" if value is not None else "-" for value in values]
        if is_pair:
            cells.append(_change(*values))
        table.add_row(f"{name} ({unit})" if unit else name, *cells)
    console.print(table)


def compared(outcomes: Sequence[SimulatedRun]) -> list[tuple[str, list[float | None], str]]:
    """Return each figure of the runs beside one another: its name, its values (None: it has none), its unit."""
    found: dict[str, tuple[dict[int, float], str]] = {}
    for number, outcome in enumerate(outcomes):
        for name, value, unit in rows(outcome.answer):
            found.setdefault(name, ({}, unit))[0][number] = value
    return [
        (name, [values.get(number) for number in range(len(outcomes))], unit) for name, (values, unit) in found.items()
    ]


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None or not before:
        return ""
    return f"{after / before - 1:+.1%}"


def _cells(figures: Figures) -> list[str]:
    return [
        f"{figures.requests:,}",
        f"{figures.requests - figures.answered:,}",
        "-" if figures.in_time is None else f"{figures.in_time:.2%}",
        f"{figures.ttft_s[1]:.3f}",
        f"{figures.ttft_s[3]:.3f}",
        f"{figures.tpot_s[1] * 1e3:.1f}",
        f"{figures.tpot_s[3] * 1e3:.1f}",
        f"{figures.cached_share:.0%}",
    ]
