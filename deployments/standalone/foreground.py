"""Runs the standalone gateway in the foreground, until SIGINT or SIGTERM."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from cluster.errors import ClusterError
from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from cluster.spec.tenants_file import TENANTS_FILE
from deployments.gateway.admin_key import with_admin_key_read
from deployments.gateway.tenant_keys import with_keys_read
from deployments.gateway.tenants_watch import TenantsWatch
from deployments.launch.read_file import read_text
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import server_at
from router.http.gateway import LOOPBACK


def run_in_foreground(  # noqa: PLR0913 - the command's options
    spec: GatewaySpec,
    replicas: Sequence[str],
    *,
    policy: str,
    replica_key: str,
    request_timeout_s: float,
    tenants: Path | None,
    console: Console,
) -> None:
    """Run a gateway in front of `replicas` until SIGINT or SIGTERM.

    Raises:
        SpecError: the tenants file, or a key file that it names, cannot be read or has mistakes; lists all of them.
        ClusterError: a URL is wrong or a port is taken.
        PolicyError: the policy is unknown, or needs telemetry, which plain servers do not have.
    """
    if tenants is not None:
        spec = spec.model_copy(update={"tenants": _tenants_of(tenants)[0]})
    spec = with_admin_key_read(spec, "the options")
    servers = [server_at(url) for url in replicas]
    process = StandaloneGateway(
        spec, servers, policy=policy, credential=replica_key, request_timeout_s=request_timeout_s
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(process, spec, tenants, console))


def _tenants_of(file: Path) -> tuple[tuple[TenantSpec, ...], list[str]]:
    """Return the tenants of a file, with their keys read, and the files that this took."""
    listed = TENANTS_FILE.load(read_text(file), str(file)).tenants
    read = with_keys_read(GatewaySpec(tenants=listed), str(file), "tenants")
    return read.tenants, [str(file), *(tenant.key_file for tenant in listed if tenant.key_file)]


async def _run(process: StandaloneGateway, spec: GatewaySpec, tenants: Path | None, console: Console) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    try:
        await process.start()
    except OSError as error:
        raise ClusterError(str(error.strerror or error)) from error
    host = "127.0.0.1" if spec.host in {"0.0.0.0", "::"} else spec.host  # noqa: S104 - compared, not listened on
    admin_host = LOOPBACK if spec.admin_host in {"", "0.0.0.0", "::"} else spec.admin_host  # noqa: S104 - likewise
    print(f"READY http://{host}:{process.gateway.port}", flush=True)  # noqa: T201 - programs wait for this line
    console.print(f"admin: http://{admin_host}:{process.gateway.admin_port} (/metrics, /state)", highlight=False)
    watch = TenantsWatch(process.gateway, lambda: _tenants_of(tenants)) if tenants is not None else None
    if watch is not None:
        watch.start()
    ends = {asyncio.ensure_future(stopping.wait()), asyncio.ensure_future(process.wait_for_failure())}
    done, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    console.print("Stopping: running answers may finish …")
    if watch is not None:
        await watch.stop()
    await process.stop(spec.drain_timeout_s)
    for task in done:
        task.result()
