"""Options that several subcommands have."""

from typing import Annotated

import typer

Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        "--admin",
        metavar="URL",
        help="A gateway, instead of a Ray cluster: its admin port's URL; give it once for each gateway. "
        "`RACKSERVE_ADMIN_URL` stands for it.",
    ),
]
Address = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT",
        help="A running Ray cluster: its head, or `auto` for this machine's. `RAY_ADDRESS` stands for it.",
        show_default=False,
    ),
]
RayAddress = Annotated[
    str,
    typer.Option(
        envvar="RAY_ADDRESS", help="A running Ray cluster: HOST:PORT of its head, or `auto` for this machine's."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
