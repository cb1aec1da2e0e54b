"""The tables of `rackserve bench`."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.load.figures.comparison import CONFIDENCE, Change
from deployments.load.figures.measures import LoadFigures, Spread
from deployments.load.figures.run_file import RunFile

_SHOWN_PROBLEMS: Final = 5
_LOADGEN: Final = (
    "Result is",
    "Scenario",
    "Completed samples per second",
    "Completed tokens per second",
    "Tokens per second",
)
"""What is shown of LoadGen's summary; `--json` has all of it."""
_UNMET: Final = (
    "Performance constraints satisfied",
    "Min duration satisfied",
    "Min queries satisfied",
    "Early stopping satisfied",
)
"""What it wants of a valid result."""


def show(run: RunFile, console: Console) -> None:
    """Print one run."""
    figures = run.figures()
    table = Table(title=escape(f"{run.name}: {run.model} at {run.url}"), title_justify="left")
    for heading in ("", "mean", "p50", "p90", "p99", "most"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = (
        ("time to first token, ms", figures.ttft_s),
        ("time per output token, ms", figures.tpot_s),
        ("between two events, ms", figures.gap_s),
        ("whole answer, ms", figures.latency_s),
        ("sent late by, ms", figures.late_s),
    )
    for name, spread in rows:
        if spread is not None:
            table.add_row(name, *_cells(spread))
    console.print(table)
    for line in _lines(run, figures):
        console.print(line, highlight=False, markup=False)
    for reason, count in list(figures.problems.items())[:_SHOWN_PROBLEMS]:
        console.print(f"failed: {count} times {reason}", style="yellow", highlight=False, markup=False)


def _lines(run: RunFile, figures: LoadFigures) -> list[str]:
    total = "" if figures.total_tokens_per_s is None else f", {figures.total_tokens_per_s:,.1f} with prompts"
    early = "" if run.is_whole else ", ended early"
    answered = (
        f"{figures.answered:,} of {figures.requests:,} requests of {figures.sessions:,} sessions answered in "
        f"{figures.seconds:,.1f} s{early}: {figures.requests_per_s:,.2f} requests/s, "
        f"{figures.output_tokens_per_s:,.1f} output tokens/s{total}."
    )
    lines = [answered]
    if run.slo_ttft_s is not None or run.slo_tpot_s is not None:
        limits = [
            f"{name} {limit * 1e3:,.0f} ms"
            for name, limit in (("TTFT", run.slo_ttft_s), ("TPOT", run.slo_tpot_s))
            if limit is not None
        ]
        lines.append(
            f"Within {' and '.join(limits)}: {figures.within_slo:.1%}, a goodput of {figures.goodput_per_s:,.2f} "
            "requests/s."
        )
    cached = "not said" if figures.cached_share is None else f"{figures.cached_share:.1%}"
    lines.append(
        f"Prompt tokens {'not said' if figures.prompt_tokens is None else f'{figures.prompt_tokens:,}'}, cached of "
        f"them {cached}; output tokens {figures.output_tokens:,} (counted by "
        f"{' and '.join(figures.counted) or 'nobody'})."
    )
    if run.energy is not None:
        each = run.energy["joules_per_output_token"]
        per_token = "" if each is None else f", {each:,.3f} J an output token"
        lines.append(f"Energy {run.energy['joules']:,.0f} J{per_token}; measured by {run.energy['source']}.")
    client = run.client
    lines.append(
        f"The client took {client['cpu_share']:.0%} of a core; its loop was {client['lag_p50_s'] * 1e3:.1f} ms late in "
        f"the median, {client['lag_p99_s'] * 1e3:.1f} ms in the 99th percentile."
    )
    if run.mlperf is not None:
        lines += _loadgen_lines(run.mlperf)
    return lines


def _loadgen_lines(mlperf: dict[str, object]) -> list[str]:
    summary = mlperf["summary"]
    told = [f"{name}: {summary[name]}" for name in _LOADGEN if isinstance(summary, dict) and name in summary]
    if isinstance(summary, dict):
        told += [f"{name}: no" for name in _UNMET if summary.get(name, "").upper() == "NO"]
    lines = [f"LoadGen, {mlperf['scenario']}: {'; '.join(told)}."] if told else []
    if isinstance(mlperf["right"], float):
        lines.append(f"LoadGen, {mlperf['scenario']}, accuracy: {mlperf['right']:.1%} of the answers are right.")
    return lines


def show_changes(before: RunFile, after: RunFile, changes: Sequence[Change], console: Console) -> None:
    """Print what changed between two runs."""
    table = Table(title=escape(f"{before.name} → {after.name}"), title_justify="left")
    headings = "", "before", "after", "ratio", f"{CONFIDENCE:.0%} interval", ""
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for change in changes:
        interval = "too few sessions" if change.low is None else f"{change.low:.3f} to {change.high:.3f}"
        unit = f", {change.unit}" if change.unit else ""
        table.add_row(
            f"{change.name}{unit}", f"{change.before:,.4g}", f"{change.after:,.4g}", f"{change.ratio:.3f}", interval,
            change.verdict,
        )  # fmt: skip
    console.print(table)
    for run in (before, after):
        failed = run.figures().requests - run.figures().answered
        if failed:
            console.print(f"{run.name}: {failed} requests failed", style="yellow", markup=False, highlight=False)


def _cells(spread: Spread) -> list[str]:
    return [f"{value * 1e3:,.1f}" for value in (spread.mean, spread.p50, spread.p90, spread.p99, spread.most)]
