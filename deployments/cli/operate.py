"""Options of the subcommands that change what runs on a Ray cluster: `scale`, `adapters` and `drain-node`."""

from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.shared import Address, AsJson, RayAddress, Urls
from deployments.commands.target.target import check_listening, target_of

# ruff: noqa: PLC0415, FBT002, PLR0913, PLR0917
# Imports inside: Ray takes seconds to load. Flags and many parameters: Typer reads options from signatures.

_console = Console(stderr=True)

adapters = typer.Typer(no_args_is_help=True, help="LoRA adapters of running models: add, remove, list.")
BaseModel = Annotated[str, typer.Option("--model", help="The base model's name.", show_default=False)]
Application = Annotated[
    str, typer.Option("--app", help="The application (`cluster.name`), if several have a model of that name.")
]


def scale(
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    replicas: Annotated[
        str,
        typer.Argument(
            metavar="N|MIN:MAX", help="A fixed number of replicas, or a range to scale in.", show_default=False
        ),
    ],
    address: RayAddress = "auto",
    application: Application = "",
    pool: Annotated[str, typer.Option(help="The pool, if the model has several.")] = "",
    wait: Annotated[bool, typer.Option(help="Return once the replicas serve.")] = True,
) -> None:
    """Change the number of a running model's replicas, or of one pool's of it; no replica that stays is restarted.

    It holds until the cluster file is deployed again: change the file's `replicas`, too, to keep it. An application of
    a Helm release or a Serve config file is scaled there.
    """
    check_listening(address)
    from deployments.commands.operate.scale import scale as run

    run(model, replicas, address, application=application, pool=pool, wait=wait, console=_console)


def drain_node(
    address: RayAddress = "auto",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until the machine ends.")] = 120.0,
    node: Annotated[str, typer.Option(help="Ray's id of the node (`ray list nodes`); by default this one.")] = "",
) -> None:
    """Empty a Ray node of replicas and gateways before its machine ends: Kubernetes' `preStop`.

    Where there is room, replacements start on other nodes first. The old ones finish their requests. Exit code 1: some
    still ran when the time was over.
    """
    check_listening(address)
    from deployments.commands.operate.drain_node import drain_node as run

    raise typer.Exit(0 if run(address, node, timeout_s=timeout, console=_console) else 1)


@adapters.command("add")
def adapters_add(
    name: Annotated[str, typer.Argument(help="The name that apps put in `model`.", show_default=False)],
    source: Annotated[
        str,
        typer.Argument(help="A Hugging Face id, or a folder that every replica's machine has.", show_default=False),
    ],
    model: BaseModel,
    address: RayAddress = "auto",
    application: Application = "",
) -> None:
    """Add a LoRA adapter to a running model, or give one other weights; no replica is restarted.

    Returns once every replica can serve it. It holds until the cluster file is deployed again: list it in the file's
    `adapters`, too, to keep it.
    """
    check_listening(address)
    from deployments.commands.operate.adapters import add as run

    run(name, source, model, address, application=application, console=_console)


@adapters.command("remove")
def adapters_remove(
    name: Annotated[str, typer.Argument(help="The adapter's name.", show_default=False)],
    model: BaseModel,
    address: RayAddress = "auto",
    application: Application = "",
) -> None:
    """Remove a LoRA adapter from a running model; requests that use it go on, new ones are answered with 404."""
    check_listening(address)
    from deployments.commands.operate.adapters import remove as run

    run(name, model, address, application=application, console=_console)


@adapters.command("list")
def adapters_list(url: Urls = None, address: Address = "", as_json: AsJson = False) -> None:
    """List the adapters of all models: which replicas have each loaded, and what keeps any from being served."""
    from deployments.commands.status.adapters import list_adapters as run

    run(target_of(url or (), address), as_json=as_json, console=Console())
