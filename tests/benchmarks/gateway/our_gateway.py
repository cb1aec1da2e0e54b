"""Our gateway as `rackserve gateway` runs it, with tenants: API keys are looked up, as in a cluster with customers."""

import argparse
import asyncio
import hashlib
import signal
import sys

import uvloop

from cluster.spec.gateway_spec import GatewaySpec, TenantSpec
from deployments.process.garbage_collection import collect_seldom
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import server_at
from tests.benchmarks.gateway.code_forms import CodeForm, running_form

_OTHER_TENANTS = 100


def _tenants(api_key: str) -> tuple[TenantSpec, ...]:
    keys = [api_key, *(f"sk-other-{i}" for i in range(_OTHER_TENANTS))]
    return tuple(
        TenantSpec(name=f"tenant-{i}", key_sha256=hashlib.sha256(key.encode()).hexdigest())
        for i, key in enumerate(keys)
    )


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    spec = GatewaySpec(host="127.0.0.1", port=options.port, admin_port=0, tenants=_tenants(options.api_key))
    gateway = StandaloneGateway(spec, [server_at(url) for url in options.replica], policy=options.policy)
    await gateway.start()
    collect_seldom()
    await stopped.wait()
    await gateway.stop(drain_s=1.0)


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--replica", action="append", required=True)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--api-key", required=True)
    parser.add_argument(
        "--form", type=CodeForm, required=True, help="fail if it is not this form of our code that runs"
    )
    options = parser.parse_args()
    form = running_form()
    if form is not options.form:
        sys.exit(f"this gateway's code is {form}, not {options.form}")
    uvloop.run(_serve(options))


if __name__ == "__main__":
    main()
