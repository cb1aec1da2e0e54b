"""Simulated replicas as a cluster runs them, and a gateway in front of them, without Ray: a process for each role."""

import argparse
import asyncio
import signal
from pathlib import Path
from random import Random

import msgspec
import uvloop

from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.process.machine_clock import MachineClock
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from deployments.telemetry.client import TelemetryClient
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint

CREDENTIAL = "burst"


async def run_replicas(model: ModelSpec, count: int, endpoints: Path) -> None:
    """Run `count` replicas; where they are is written to a file once they are ready."""
    servers = [
        ReplicaServer(model, engine_for(model), replica_id=f"replica-{number}", host="127.0.0.1", credential=CREDENTIAL)
        for number in range(count)
    ]
    started = await asyncio.gather(*(server.start() for server in servers))
    written = endpoints.with_suffix(".part")
    written.write_bytes(msgspec.json.encode(started))
    written.rename(endpoints)
    await _until_stopped()
    await asyncio.gather(*(server.stop() for server in servers))


async def run_gateway(spec: GatewaySpec, model: ModelSpec, replicas: list[Endpoint]) -> None:
    """Run a gateway in front of replicas."""
    gateway = Gateway(
        spec, [model], gateway_id=f"gateway-{spec.port}", credential=CREDENTIAL, clock=MachineClock(), rng=Random(0)
    )
    await gateway.start()
    gateway.apply_view(replicas)
    telemetry = TelemetryClient(f"gateway-{spec.port}", CREDENTIAL, gateway.apply_report)
    telemetry.follow(replicas)
    await _until_stopped()
    await telemetry.stop()
    await gateway.stop(1.0)


async def _until_stopped() -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["replicas", "gateway"])
    parser.add_argument("--model", required=True, help="the model's spec, as JSON")
    parser.add_argument("--endpoints", type=Path, required=True, help="the file that says where the replicas are")
    parser.add_argument("--count", type=int, default=1, help="how many replicas")
    parser.add_argument("--gateway", default="{}", help="the gateway's spec, as JSON")
    options = parser.parse_args()
    model = ModelSpec.model_validate_json(options.model)
    if options.role == "replicas":
        uvloop.run(run_replicas(model, options.count, options.endpoints))
    else:
        replicas = msgspec.json.decode(options.endpoints.read_bytes(), type=list[Endpoint])
        uvloop.run(run_gateway(GatewaySpec.model_validate_json(options.gateway), model, replicas))


if __name__ == "__main__":
    main()
