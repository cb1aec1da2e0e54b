"""Runs the standalone gateway in the foreground, until SIGINT or SIGTERM."""

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.console import Console

from cluster.errors import ClusterError
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.parts.server_url import server_url
from cluster.spec.servers_file import ServerSpec
from cluster.spec.tenants_file import TENANTS_FILE
from deployments.gateway.admin_key import with_admin_key_read
from deployments.gateway.admin_key_watch import AdminKeyWatch
from deployments.gateway.tenant_keys import with_keys_read
from deployments.gateway.tenants_watch import TenantsWatch
from deployments.process.garbage_collection import collect_seldom
from deployments.process.read_file import read_text
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_list import ServerList
from deployments.standalone.server_settings import ServerDefaults
from deployments.standalone.servers_page import PATH as SERVERS_PATH
from deployments.standalone.servers_page import ServersPage
from router.http.gateway import LOOPBACK


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Which servers there are, by the command's options.

    Attributes:
        urls: URLs of servers.
        file: a servers file; None: there is none.
        defaults: what holds for servers that don't say otherwise.
    """

    urls: Sequence[str]
    file: Path | None
    defaults: ServerDefaults


def run_in_foreground(  # noqa: PLR0913 - the command's options
    spec: GatewaySpec,
    servers: ServerOptions,
    *,
    policy: str,
    request_timeout_s: float,
    poll_timeout_s: float,
    tenants: Path | None,
    console: Console,
) -> None:
    """Run a gateway in front of `servers` until SIGINT or SIGTERM.

    Raises:
        SpecError: the tenants or servers file, or a file that it names, cannot be used; lists all mistakes.
        ClusterError: a URL is wrong or a port is taken.
        PolicyError: the policy is unknown, or needs telemetry, which plain servers do not have.
    """
    if tenants is not None:
        spec = spec.model_copy(update={"tenants": _tenants_of(tenants)[0]})
    admin_key = spec
    spec = with_admin_key_read(spec, "the options")
    try:
        listed = ServerList(map(_given, servers.urls), file=servers.file, defaults=servers.defaults)
    except ValueError as error:
        raise ClusterError(str(error)) from error
    process = StandaloneGateway(
        spec,
        listed.addresses(),
        policy=policy,
        credential=servers.defaults.key,
        request_timeout_s=request_timeout_s,
        poll_timeout_s=poll_timeout_s,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(process, listed, spec, admin_key, tenants, console))


def _given(url: str) -> ServerSpec:
    try:
        return ServerSpec(url=str(server_url(url)))
    except ValueError as error:
        raise ClusterError(f"--replica {error}") from error


def _tenants_of(file: Path) -> tuple[tuple[TenantSpec, ...], list[str]]:
    """Return the tenants of a file, with their keys read, and the files that this took."""
    listed = TENANTS_FILE.load(read_text(file), str(file)).tenants
    read = with_keys_read(GatewaySpec(tenants=listed), str(file), "tenants")
    return read.tenants, [str(file), *(tenant.key_file for tenant in listed if tenant.key_file)]


async def _run(  # noqa: PLR0913, PLR0917 - the process' parts
    process: StandaloneGateway,
    listed: ServerList,
    spec: GatewaySpec,
    admin_key: GatewaySpec,
    tenants: Path | None,
    console: Console,
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)

    def changed() -> None:
        process.set_servers(listed.addresses())

    process.gateway.operations[SERVERS_PATH] = ServersPage(
        listed, lambda: process.servers, process.found_rates, changed
    )
    await listed.look_up()
    changed()
    try:
        await process.start()
    except OSError as error:
        raise ClusterError(str(error.strerror or error)) from error
    collect_seldom()
    host = "127.0.0.1" if spec.host in {"0.0.0.0", "::"} else spec.host  # noqa: S104 - compared, not listened on
    admin_host = LOOPBACK if spec.admin_host in {"", "0.0.0.0", "::"} else spec.admin_host  # noqa: S104 - likewise
    print(f"READY http{'s' * (spec.tls is not None)}://{host}:{process.gateway.port}", flush=True)  # noqa: T201 - programs wait for this line
    console.print(
        f"admin: http://{admin_host}:{process.gateway.admin_port} (/metrics, /state, /servers)", highlight=False
    )
    watches: list[TenantsWatch | AdminKeyWatch] = []
    if tenants is not None:
        watches.append(TenantsWatch(process.gateway, lambda: _tenants_of(tenants)))
    if admin_key.admin_key_file:
        watches.append(AdminKeyWatch(process.gateway, admin_key))
    for watch in watches:
        watch.start()
    watching = asyncio.ensure_future(listed.keep_up_to_date(changed))
    ends = {watching, asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(process.wait_for_failure())}
    done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    console.print("Stopping: running answers may finish …")
    for watch in watches:
        await watch.stop()
    await process.stop(spec.drain_timeout_s)
    for task in done:
        task.result()
