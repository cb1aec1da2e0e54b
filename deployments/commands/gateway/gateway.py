"""`rackserve gateway`: runs the gateway alone, without Ray, in front of OpenAI-compatible servers."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from deployments.commands.gateway.size_option import size_bytes

# ruff: noqa: PLC0415, PLR0913, PLR0917, FBT002
# Typer reads a command's options from its signature; imports inside, so that other commands need no gateway.

_SERVERS: Final = "The servers"
_APPS: Final = "What apps connect to"
_LIMITS: Final = "Limits and times"


def _header(name: str) -> str:
    from cluster.spec.parts.forward_headers import forwardable

    try:
        return forwardable(name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def gateway(
    replica: Annotated[
        list[str] | None,
        typer.Option(
            help="An OpenAI-compatible server, http://HOST:PORT or https://HOST:PORT/PATH; give it once for each.",
            show_default=False,
            rich_help_panel=_SERVERS,
        ),
    ] = None,
    servers: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file of a `servers:` list: url, key, ca_file … of each. Read again when it changes.",
            rich_help_panel=_SERVERS,
        ),
    ] = None,
    replica_key: Annotated[
        str,
        typer.Option(
            envvar="RACKSERVE_REPLICA_KEY",
            help="API key the servers want, if they want one.",
            rich_help_panel=_SERVERS,
        ),
    ] = "",
    pass_authorization: Annotated[
        bool,
        typer.Option(
            "--pass-authorization",
            help="Pass each client's own API key on to the servers; --replica-key is then for polls alone.",
            rich_help_panel=_SERVERS,
        ),
    ] = False,
    forward_header: Annotated[
        list[str] | None,
        typer.Option(
            parser=_header,
            metavar="NAME",
            help="A request header that servers get as sent, such as baggage; give it once for each.",
            show_default=False,
            rich_help_panel=_SERVERS,
        ),
    ] = None,
    upstream_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file with the authorities that sign the servers' certificates; without it, the system's.",
            rich_help_panel=_SERVERS,
        ),
    ] = None,
    max_requests_per_server: Annotated[
        int,
        typer.Option(
            min=0,
            help="Requests that run on a server at once; more wait in the gateway. 0: as many as it seems to bear.",
            rich_help_panel=_SERVERS,
        ),
    ] = 0,
    no_rate_probe: Annotated[
        bool,
        typer.Option(
            "--no-rate-probe",
            help="Do not find idle servers' rates by a few short prompts; users' requests tell them.",
            rich_help_panel=_SERVERS,
        ),
    ] = False,
    policy: Annotated[
        str,
        typer.Option(
            help="expected_ttft, prefix_affinity, consistent_hash, least_load, power_of_two or round_robin",
            rich_help_panel=_SERVERS,
        ),
    ] = "expected_ttft",
    no_resume: Annotated[
        bool,
        typer.Option(
            "--no-resume",
            help="A stream whose server fails ends with an error; no other server continues it.",
            rich_help_panel=_SERVERS,
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The apps' port; 0: a free one.", rich_help_panel=_APPS)
    ] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.", rich_help_panel=_APPS)] = "0.0.0.0",  # noqa: S104 - apps come from elsewhere
    admin_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="/metrics, /state, /servers; 0: a free one.", rich_help_panel=_APPS),
    ] = 8002,
    admin_host: Annotated[
        str,
        typer.Option(
            help="The address of the admin port; without it, this machine alone reaches it.", rich_help_panel=_APPS
        ),
    ] = "",
    admin_key_file: Annotated[
        str,
        typer.Option(
            help="A file with the key that operators send to the admin port as a bearer token.", rich_help_panel=_APPS
        ),
    ] = "",
    api_path: Annotated[
        list[str] | None,
        typer.Option(
            help="A further path to pass on, such as /v1/audio/speech; give it once for each.",
            show_default=False,
            rich_help_panel=_APPS,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            help="PEM file with the apps' port's certificate chain: it speaks HTTPS then. Taken anew when it changes.",
            rich_help_panel=_APPS,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file with that certificate's private key.", rich_help_panel=_APPS)
    ] = None,
    tenants: Annotated[
        Path | None,
        typer.Option(
            help="Who may use it: a YAML file of a `tenants:` list as in the cluster file; without it, all.",
            rich_help_panel=_APPS,
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="An origin whose web pages may use it, https://app.example or *; give it once for each.",
            show_default=False,
            rich_help_panel=_APPS,
        ),
    ] = None,
    access_log: Annotated[
        str,
        typer.Option(
            help="A file that gets a line of JSON for each request, without its content; `-`: the standard output.",
            rich_help_panel=_APPS,
        ),
    ] = "",
    capture: Annotated[
        str,
        typer.Option(
            metavar="FOLDER",
            help="A folder for a trace of the requests: times, lengths, hashes, never text; for `rackserve simulate`.",
            rich_help_panel=_APPS,
        ),
    ] = "",
    usage_folder: Annotated[
        str,
        typer.Option(
            help="A folder for records of what tenants use, which `rackserve usage` adds up.",
            rich_help_panel=_APPS,
        ),
    ] = "",
    max_body: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Largest request body, such as 64M; a larger one is refused with 413.",
            rich_help_panel=_LIMITS,
        ),
    ] = "32M",
    max_incoming: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            help="Most bytes of bodies that come in at a time, of all clients; the longest is refused with 503 then.",
            rich_help_panel=_LIMITS,
        ),
    ] = "512M",
    min_body_rate: Annotated[
        float,
        typer.Option(
            min=1.0,
            max=1e9,
            metavar="BYTES",
            help="Bytes a second that a body must bring, as a mean over --header-timeout; a slower one is 408.",
            rich_help_panel=_LIMITS,
        ),
    ] = 500.0,
    request_timeout: Annotated[
        float,
        typer.Option(
            min=0.001, help="Seconds of silence after which a server has failed a request.", rich_help_panel=_LIMITS
        ),
    ] = 600.0,
    connect_timeout: Annotated[
        float,
        typer.Option(
            min=0.001, help="Seconds a server may take to accept a connection, TLS included.", rich_help_panel=_LIMITS
        ),
    ] = 3.0,
    poll_timeout: Annotated[
        float,
        typer.Option(
            min=0.001, help="Seconds after which a poll of a server's models has failed.", rich_help_panel=_LIMITS
        ),
    ] = 2.0,
    header_timeout: Annotated[
        float,
        typer.Option(min=0.001, help="Seconds that may pass within a request as it comes in.", rich_help_panel=_LIMITS),
    ] = 30.0,
    idle_timeout: Annotated[
        float,
        typer.Option(
            min=0.001, help="Seconds after which a client's idle connection is closed.", rich_help_panel=_LIMITS
        ),
    ] = 75.0,
    heartbeat: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=3600.0,
            help="Seconds after which a waiting stream's client gets an SSE comment, and again each time; 0: never.",
            rich_help_panel=_LIMITS,
        ),
    ] = 0.0,
    drain_timeout: Annotated[
        float,
        typer.Option(min=0.001, help="Seconds that running answers may take at the end.", rich_help_panel=_LIMITS),
    ] = 30.0,
) -> None:
    """Run the gateway alone, without Ray, in front of any OpenAI-compatible servers.

    It asks each server's `/v1/models` every two seconds: models are found by themselves, and a server that stops
    answering gets no requests until it answers again. A name with several addresses is a server at each of them.

    ```
    rackserve gateway --port 8000 --replica http://10.0.0.1:8000 --replica http://10.0.0.2:8000
    rackserve gateway --replica https://llm.example/openai --upstream-ca rack.pem --servers servers.yaml
    ```

    `--servers FILE` may change while it runs, and so may servers by a call on the admin port:

    ```
    servers:
      - {url: "https://10.0.0.3:8443", key_file: /run/secrets/gpu-3, max_requests: 64}

    curl -d '{"url": "http://10.0.0.4:8000"}' http://127.0.0.1:8002/servers
    curl -X DELETE http://127.0.0.1:8002/servers/10.0.0.4:8000
    ```

    `--tenants FILE` asks apps for API keys. The file's `tenants:` list is that of a cluster file's `gateway:`, with the
    same keys (models, weight, priority, limits):

    ```
    tenants:
      - {name: acme, key_sha256: 5f70…, models: [chat], requests_per_minute: 600}
      - {name: beta, key_file: /run/secrets/beta}
    ```
    """
    from cluster.spec.gateway_spec import CaptureSpec, GatewaySpec, TlsSpec
    from cluster.spec.parts.usage_spec import UsageSpec
    from cluster.spec.servers_file import sendable_key
    from deployments.commands.gateway.cors_option import cors_of
    from deployments.standalone.foreground import ServerOptions, run_in_foreground
    from deployments.standalone.server_settings import ServerDefaults

    if not replica and servers is None:
        raise typer.BadParameter("give --replica URL, or --servers FILE with a list of them")
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together: give both or none")
    if tenants is not None and pass_authorization:
        raise typer.BadParameter(
            "--tenants' keys are this gateway's own: with --pass-authorization servers would see them"
        )
    if replica_key:
        try:
            replica_key = sendable_key(replica_key.strip())
        except ValueError as error:
            raise typer.BadParameter(f"--replica-key: {error}") from error
    spec = GatewaySpec(
        host=host,
        port=port,
        admin_port=admin_port,
        admin_host=admin_host,
        admin_key_file=admin_key_file,
        api_paths=tuple(api_path or ()),
        tls=TlsSpec(cert_file=str(tls_cert), key_file=str(tls_key)) if tls_cert is not None else None,
        max_body_bytes=size_bytes(max_body),
        max_incoming_bytes=max(size_bytes(max_incoming), size_bytes(max_body)),
        min_body_bytes_per_s=min_body_rate,
        connect_timeout_s=connect_timeout,
        header_timeout_s=header_timeout,
        idle_timeout_s=idle_timeout,
        drain_timeout_s=drain_timeout,
        access_log=access_log,
        usage=UsageSpec(folder=usage_folder),
        capture=CaptureSpec(path=str(Path(capture).expanduser().absolute()) if capture else ""),
        cors=cors_of(cors_origin or ()),
        forward_headers=tuple(forward_header or ()),
        resume_streams=not no_resume,
        heartbeat_s=heartbeat,
    )
    defaults = ServerDefaults(
        key=replica_key,
        ca_file=str(upstream_ca) if upstream_ca is not None else "",
        pass_authorization=pass_authorization,
        max_requests=max_requests_per_server,
        rate_probe=not no_rate_probe,
    )
    run_in_foreground(
        spec,
        ServerOptions(tuple(replica or ()), servers, defaults),
        policy=policy,
        request_timeout_s=request_timeout,
        poll_timeout_s=poll_timeout,
        tenants=tenants,
        console=Console(stderr=True),
    )
