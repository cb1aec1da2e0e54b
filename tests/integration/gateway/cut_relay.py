"""A gateway before replicas that break off in the middle of streams, all of them before one real engine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from cluster.spec.model_spec import ModelSpec
from router.http.gateway import Gateway
from tests.engine_contract.served_engine import ServedEngine, Streamed, events_of, metric_in
from tests.integration.gateway.cutting_proxy import Cuts, CuttingProxy
from tests.integration.gateway.running_gateway import running_gateway

REPLICAS = 4


@dataclass
class Relay:
    """A gateway, the cuts of the replicas behind it that are still to come, and the model they serve."""

    gateway: Gateway
    cuts: Cuts
    model: str

    async def ask(self, path: str, **body: object) -> Streamed:
        """Return a stream that is read to its end."""
        options = {"include_usage": True}
        asked = {"model": self.model, "temperature": 0, "stream": True, "stream_options": options, **body}
        url = f"http://127.0.0.1:{self.gateway.port}{path}"
        async with (
            httpx.AsyncClient(timeout=120) as client,
            client.stream("POST", url, json=asked) as response,
        ):
            found = [event async for event in events_of(response.aiter_lines())]
        return Streamed([event for event in found if event is not None], done=found[-1] is None)

    async def completion_tokens(self) -> float:
        """Return the tokens of answers that the gateway has counted."""
        async with httpx.AsyncClient() as client:
            page = await client.get(f"http://127.0.0.1:{self.gateway.admin_port}/metrics")
        return metric_in(page.text, "rackserve_tokens_total", kind="completion")


@asynccontextmanager
async def relay(engine: ServedEngine, model: ModelSpec, cuts: int, events: int) -> AsyncIterator[Relay]:
    """Run a gateway before replicas of which the first `cuts` streams break off after `events` events each."""
    to_come = Cuts(cuts, events)
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(CuttingProxy(engine.url, f"r{number}", to_come))
            for number in range(REPLICAS)
        ]
        served = model.model_copy(update={"policy": "round_robin"})
        rows = [proxy.endpoint(model.name) for proxy in proxies]
        gateway = await stack.enter_async_context(running_gateway([], models=[served], endpoints=rows))
        yield Relay(gateway, to_come, model.name)


def usage_of(streamed: Streamed) -> dict[str, Any]:
    """Return the one usage that a stream tells."""
    (told,) = [event["usage"] for event in streamed.events if event.get("usage")]
    found: dict[str, Any] = told
    return found
