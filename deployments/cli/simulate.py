"""Options of `rackserve simulate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.shared import AsJson

# ruff: noqa: PLC0415, FBT002, PLR0913, PLR0917
# Imports inside: a subcommand loads only what it needs. Flags and many parameters: Typer reads them from signatures.


def simulate(
    file: Annotated[Path, typer.Argument(help="The cluster file (YAML).", show_default=False)],
    compare: Annotated[
        list[Path] | None, typer.Option("--compare", help="Another cluster file to run beside it; may be repeated.")
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(
            help="Requests, as `rate=20,seconds=600,prompt_tokens=2000,output_tokens=250`; further keys: model, shape "
            "(poisson, even, bursts, day, offline), requests, at_a_time, spread, prefixes, prefix_tokens, turns, "
            "think_s. May be repeated.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="A recorded trace, or a file or folder that gateways captured.", show_default=False),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="A scenario file (YAML): load, events, prices.", show_default=False)
    ] = None,
    sweep: Annotated[
        str, typer.Option(metavar="KEY=VALUES", help="Run it once for each value: `models.0.replicas=4..12`.")
    ] = "",
    topology: Annotated[
        Path | None,
        typer.Option(help="The machines (YAML); without it just enough are there.", show_default=False),
    ] = None,
    hardware: Annotated[str, typer.Option(help="Kind of GPU of pools that name none, such as gb300.")] = "",
    gpu_hour: Annotated[float, typer.Option(min=0.0, help="Price of a GPU for an hour.")] = 0.0,
    lose: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME@S[+S]", help="A node, domain or rack lost then, and for how long; may be repeated."),
    ] = None,
    update: Annotated[
        list[str] | None, typer.Option(metavar="MODEL@S", help="A rolling update of a model then; may be repeated.")
    ] = None,
    speedup: Annotated[float, typer.Option(min=1e-6, help="Factor by which the trace plays faster.")] = 1.0,
    limit: Annotated[int, typer.Option(min=0, help="Most requests taken from the trace's start; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Runs with the same seed give the same figures, to the digit.")] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a report there: one file with plots.", show_default=False)
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Write the plots there as a PNG.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Run a cluster file against a load in virtual time: what would be served, how fast, and for how much.

    Dispatcher, flow control, autoscaler and placer are the code that serves live traffic; engines take the time that
    the planner's cost model says. Starts nothing and needs no GPU.

    ```
    rackserve simulate cluster.yaml --hardware gb300 --load rate=40,seconds=900 --sweep models.0.replicas=4..8
    ```
    """
    from deployments.commands.simulate.command import Asked, Shown
    from deployments.commands.simulate.command import simulate as run

    asked = Asked(
        scenario, tuple(load or ()), trace, speedup, limit, topology, hardware, gpu_hour, tuple(lose or ()),
        tuple(update or ()), seed,
    )  # fmt: skip
    run([file, *(compare or ())], sweep, asked, Shown(as_json, html, png, Console(), Console(stderr=True)))
