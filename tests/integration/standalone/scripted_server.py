"""A plain OpenAI-compatible server for tests: it announces models, and answers each request with its name."""

import asyncio
import json
import ssl

from tests.integration.gateway.scripted_replica import Received, ScriptedReplica


def scripted_server(  # noqa: PLR0913 - what a server may be
    *models: str,
    name: str = "",
    key: str = "",
    prefix: str = "",
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> ScriptedReplica:
    """Return a server of `models` whose API begins at `prefix`; with a `key` it answers nobody else."""

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        path = request.head.split(b" ")[1].decode()
        status, body = 200, json.dumps({"answered_by": name, "path": path})
        if key and request.header("authorization") != f"Bearer {key}":
            status = 401
        elif path == f"{prefix}/v1/models":
            body = json.dumps({"object": "list", "data": [{"id": model} for model in models]})
        elif not path.startswith(f"{prefix}/v1/"):
            status = 404
        head = "HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write((head % (status, len(body)) + body).encode())

    return ScriptedReplica(answer, tls=tls, host=host, port=port)


def requests_to(server: ScriptedReplica) -> list[Received]:
    """Return what clients asked of a server, without polls."""
    return [request for request in server.received if request.head.startswith(b"POST ")]
