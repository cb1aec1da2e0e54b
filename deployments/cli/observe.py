"""Options of the subcommands that look at what runs: `status`, `top`, `why`, `topology`, `chat` and `logs`.

All but `logs` take the same two: `--address`, a Ray cluster, and `--url`, a gateway.
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.cli.shared import Address, AsJson, RayAddress, Urls
from deployments.commands.target.target import APPS_URL, check_listening, target_of

# ruff: noqa: PLC0415, FBT002, PLR0913, PLR0917
# Imports inside: Ray takes seconds to load. Flags and many parameters: Typer reads options from signatures.

USUAL_APPS_URL = "http://127.0.0.1:8000"
USUAL_ADMIN_URL = "http://127.0.0.1:8002"


def status(url: Urls = None, address: Address = "", as_json: AsJson = False) -> None:
    """Show what runs: applications, gateways with their URLs, models, replicas, their load, and scaling decisions."""
    from deployments.commands.status.status import status as run

    run(target_of(url or (), address), as_json=as_json, console=Console())


def top(
    url: Urls = None,
    address: Address = "",
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one screen and end.")] = False,
) -> None:
    """Watch the cluster live: racks, replicas, queues, hit ratios, tokens a second. Ctrl-C ends it."""
    from deployments.commands.top.command import top as run

    with suppress(KeyboardInterrupt):
        run(target_of(url or (), address), interval_s=interval, once=once, console=Console())


def why(
    request_id: Annotated[
        str, typer.Argument(help="The `x-request-id` of an answer; without it, the last requests are listed.")
    ] = "",
    url: Urls = None,
    address: Address = "",
    body: Annotated[
        Path | None,
        typer.Option(help="The JSON body of a request: say where it would go, without running it.", show_default=False),
    ] = None,
    api_key: Annotated[
        str, typer.Option(envvar="RACKSERVE_API_KEY", help="With --body: your key, where the cluster has tenants.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show why a request went to its replica: every candidate, each term of its cost, the pick, and the outcome.

    With `--body` a gateway is asked where such a request would go now, what is cached there, and what it would cost.
    """
    if body is not None:
        from deployments.commands.rehearse.dry_run import why_body

        target = target_of(url or (), address, variable=APPS_URL, default=USUAL_APPS_URL)
        why_body(body, target, api_key=api_key, as_json=as_json, console=Console())
        return
    from deployments.commands.observe.why import why as run

    target = target_of(url or (), address, default=USUAL_ADMIN_URL)
    run(request_id, target, as_json=as_json, console=Console())


def topology(url: Urls = None, address: Address = "", as_json: AsJson = False) -> None:
    """Draw racks, nodes, GPUs and the replicas on them as they are now, and the replicas that wait for a place.

    With `--url`: the machines of the gateway's replicas, for of GPUs only the Ray cluster knows.
    """
    target = target_of(url or (), address)
    if target.urls:
        from deployments.commands.observe.gateway_topology import gateway_topology

        gateway_topology(target.urls, as_json=as_json, console=Console())
    else:
        from deployments.commands.observe.topology import topology as run

        run(target.address, as_json=as_json, console=Console())


def chat(
    message: Annotated[str, typer.Argument(help="What to ask; without it, a conversation begins.")] = "",
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help=f"Where apps connect, or the gateway's admin port. `{APPS_URL}` stands for it. [default: "
            f"{USUAL_APPS_URL}]",
            show_default=False,
        ),
    ] = "",
    address: Address = "",
    model: Annotated[str, typer.Option(help="Which model; by default the first one served.")] = "",
    api_key: Annotated[
        str, typer.Option(envvar="RACKSERVE_API_KEY", help="Your key, where the cluster has tenants.")
    ] = "",
    system: Annotated[str, typer.Option(help="A system prompt.")] = "",
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0: always the likeliest word.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
) -> None:
    """Ask a model through the endpoint, and see which replica answered, the tokens and the times."""
    from deployments.commands.observe.chat import chat as run

    run(
        message,
        target_of([url] if url else (), address, variable=APPS_URL, default=USUAL_APPS_URL),
        model=model,
        api_key=api_key,
        system=system,
        temperature=temperature,
        max_tokens=max_tokens,
        console=Console(),
    )


def logs(
    model: Annotated[str, typer.Argument(help="The model whose replicas' logs to print.", show_default=False)],
    address: RayAddress = "auto",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C.")] = False,
    pool: Annotated[str, typer.Option(help="One pool of the model; by default all.")] = "",
    replica: Annotated[str, typer.Option(help="One replica, by its id in `status`; by default all that live.")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Most lines of each replica to begin with.")] = 100,
) -> None:
    """Print the logs of a model's replicas, wherever in the cluster they run.

    If none lives, the logs are those of the replica that ended last: they say why it did not start.
    """
    check_listening(address)
    from deployments.commands.observe.logs import logs as run

    with suppress(KeyboardInterrupt):
        run(model, address, pool=pool, replica=replica, lines=lines, follow=follow, console=Console())
