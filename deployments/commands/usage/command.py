"""`rackserve usage`: adds up what gateways have recorded."""

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.commands.usage.export import as_csv, as_json, as_table, write_parquet
from deployments.commands.usage.tally import By, files_in, rows_of, tally

# ruff: noqa: FBT002, PLR0913, PLR0917
# Typer reads a command's options from its signature.

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def usage(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with the records, `gateway.usage.folder` of each machine or of all.", show_default=False
        ),
    ],
    by: Annotated[
        list[By] | None,
        typer.Option(help="What rows are told apart by; may be repeated.", show_default="tenant, model"),
    ] = None,
    month: Annotated[str, typer.Option(help="Only this month (UTC), such as 2026-11; without it, all.")] = "",
    to_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    to_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    parquet: Annotated[Path | None, typer.Option(help="Write a Parquet file.", show_default=False)] = None,
) -> None:
    """Add up what tenants have used: requests, tokens, KV memory; from the records that gateways keep.

    Gateways keep records where the cluster file has `gateway: {usage: {folder: …}}`. A request that was sent again or
    resumed counts once. It can run beside gateways that write.
    """
    if month and not _MONTH.fullmatch(month):
        raise typer.BadParameter(f"--month: {month!r} is no month; write it like 2026-11")
    told_by = by or [By.TENANT, By.MODEL]
    sums = tally(rows_of(files_in(folders, month)), told_by)
    if parquet is not None:
        write_parquet(sums, told_by, parquet)
    if to_csv:
        typer.echo(as_csv(sums, told_by), nl=False)
    elif to_json:
        typer.echo(as_json(sums, told_by))
    elif parquet is None:
        Console().print(as_table(sums, told_by))
