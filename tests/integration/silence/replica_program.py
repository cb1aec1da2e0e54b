"""A program: a whole replica of a simulated engine, with both its ports, outside Ray.

`python replica_program.py SPEC_JSON REPLICA_ID ADDRESS` prints `READY HTTP_PORT TELEMETRY_PORT` once it answers.
"""

import asyncio
import sys

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer

CREDENTIAL = "secret"


async def main() -> None:
    """Serve until the process is ended."""
    model = ModelSpec.model_validate_json(sys.argv[1])
    server = ReplicaServer(model, engine_for(model), replica_id=sys.argv[2], host=sys.argv[3], credential=CREDENTIAL)
    endpoint = await server.start()
    sys.stdout.write(f"READY {endpoint.http_port} {endpoint.telemetry_port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
