"""Options of the subcommands that only read or write files: `init`, `validate`, `plan` and `place`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from deployments.cli.shared import AsJson

# ruff: noqa: PLC0415, FBT002, PLR0913, PLR0917
# Imports inside: a subcommand loads only what it needs. Flags and many parameters: Typer reads them from signatures.


def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("rackserve.yaml"),
) -> None:
    """Write a cluster file to begin with: small, with comments, and ready for `rackserve serve`. Overwrites nothing."""
    from deployments.commands.files.init import init as run

    run(file, console=Console())


def validate(
    file: Annotated[
        Path,
        typer.Argument(
            help="A cluster file, or one of tenants, servers, gangs, machines, a plan or a scenario (YAML).",
            show_default=False,
        ),
    ],
    elsewhere: Annotated[
        bool,
        typer.Option(
            "--elsewhere",
            help="It is for other machines: don't look here for the models, keys and certificates it names.",
        ),
    ] = False,
) -> None:
    """Check a file as the command that reads it would, and start nothing.

    What kind of file it is shows in its keys. A cluster file is checked as `serve` checks it before it starts anything:
    every key, policy, tenant and engine argument, and the models, keys and certificates that it names. One with a
    `launch:` section is for other machines, and is checked as by `up`, which asks those machines besides.

    Exit code 2: the file has mistakes; all of them are told.
    """
    from deployments.commands.files.validate import validate as run

    run(file, elsewhere=elsewhere, console=Console())


def plan(
    file: Annotated[Path, typer.Argument(help="The plan file (YAML): model, hardware, load, SLO.", show_default=False)],
    as_json: AsJson = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show every alternative, not only the most informative.")
    ] = False,
) -> None:
    """Plan how to serve a model: parallelism, replicas, GPUs, speed, cost, and why each alternative lost."""
    from deployments.commands.files.plan import plan as run

    raise typer.Exit(run(file, as_json=as_json, show_all=show_all, console=Console()))


def place(
    file: Annotated[Path, typer.Argument(help="A cluster file, or a list of gangs (YAML).", show_default=False)],
    topology: Annotated[
        Path, typer.Option(help="The machines (YAML): nodes, NVLink domains, racks.", show_default=False)
    ],
    at: Annotated[Literal["min", "max"], typer.Option(help="Place each model's least or most replicas.")] = "max",
    lose: Annotated[list[str] | None, typer.Option(help="A node, domain or rack that fails; may be repeated.")] = None,
    spares: Annotated[int | None, typer.Option(min=0, help="Nodes kept free in each domain.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show where the gangs would go on these machines, without any GPU: what fits, what does not and why not."""
    from deployments.commands.files.place import place as run

    raise typer.Exit(run(file, topology, at=at, lose=lose or (), spares=spares, as_json=as_json, console=Console()))
