"""`rackserve gateway`: runs the gateway alone, without Ray, in front of OpenAI-compatible servers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# ruff: noqa: PLC0415, PLR0913, PLR0917
# Typer reads a command's options from its signature; imports inside, so that other commands need no gateway.


def gateway(
    replica: Annotated[
        list[str],
        typer.Option(help="An OpenAI-compatible server, http://HOST:PORT; give it once for each.", show_default=False),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The apps' port; 0: a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",  # noqa: S104 - apps come from elsewhere
    admin_port: Annotated[int, typer.Option(min=0, max=65535, help="/metrics and /state; 0: a free one.")] = 8002,
    admin_host: Annotated[
        str, typer.Option(help="The address of the admin port; without it, this machine alone reaches it.")
    ] = "",
    admin_key_file: Annotated[
        str, typer.Option(help="A file with the key that operators send to the admin port as a bearer token.")
    ] = "",
    api_path: Annotated[
        list[str] | None,
        typer.Option(help="A further path to pass on, such as /v1/audio/speech; give it once for each."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(help="expected_ttft, prefix_affinity, consistent_hash, least_load, power_of_two or round_robin"),
    ] = "expected_ttft",
    replica_key: Annotated[
        str, typer.Option(envvar="RACKSERVE_REPLICA_KEY", help="Bearer token the servers want, if they want one.")
    ] = "",
    request_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds of silence after which a server has failed a request.")
    ] = 600.0,
    drain_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that running answers may take at the end.")
    ] = 30.0,
    tenants: Annotated[
        Path | None,
        typer.Option(help="Who may use it: a YAML file of a `tenants:` list as in the cluster file; without it, all."),
    ] = None,
) -> None:
    """Run the gateway alone, without Ray, in front of any OpenAI-compatible servers.

    It asks each server's `/v1/models` every second: models are found by themselves, and a server that stops answering
    gets no requests until it answers again.

    ```
    rackserve gateway --port 8000 --replica http://10.0.0.1:8000 --replica http://10.0.0.2:8000
    ```

    `--tenants FILE` asks apps for API keys. The file's `tenants:` list is that of a cluster file's `gateway:`, with the
    same keys (models, weight, priority, limits):

    ```
    tenants:
      - {name: acme, key_sha256: 5f70…, models: [chat], requests_per_minute: 600}
      - {name: beta, key_file: /run/secrets/beta}
    ```
    """
    from cluster.spec.gateway_spec import GatewaySpec
    from deployments.standalone.foreground import run_in_foreground

    spec = GatewaySpec(
        host=host,
        port=port,
        admin_port=admin_port,
        admin_host=admin_host,
        admin_key_file=admin_key_file,
        api_paths=tuple(api_path or ()),
        drain_timeout_s=drain_timeout,
    )
    run_in_foreground(
        spec,
        replica,
        policy=policy,
        replica_key=replica_key,
        request_timeout_s=request_timeout,
        tenants=tenants,
        console=Console(stderr=True),
    )
