"""Streams whose events have names."""

import json
from typing import Any

import httpx

from tests.engine_contract.served_engine import ServedEngine


async def named_events(
    client: httpx.AsyncClient, engine: ServedEngine, path: str, **body: object
) -> list[tuple[str, dict[str, Any]]]:
    """Read a stream to its end; return the name and the JSON of each event."""
    request = {"model": engine.model.name, "temperature": 0, "stream": True, **body}
    async with client.stream("POST", engine.url + path, json=request, timeout=120) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        text = (await response.aread()).decode()
    events = []
    for event in text.split("\n\n"):
        if event:
            name, data = event.split("\n")
            events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events
