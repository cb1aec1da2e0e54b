"""A stream whose events carry several tokens goes on elsewhere: no token more or less, and the usage is the whole's."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from router.replicas.endpoint import Endpoint
from tests.engine_contract.served_engine import ServedEngine, metric_in
from tests.integration.gateway.running_gateway import running_gateway

TOKENS = 90
MODEL = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "policy": "least_load",
        "speculative": {"method": "ngram", "tokens": 4},
        "sim": {"acceptance": 0.9, "draft_share": 1.0, "inter_token_s": 0.04},
    }
)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "Once upon a time"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Tell me of rivers"}]},
}


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[ServedEngine]]:
    """Three engines that draft: two behind the gateway, one that is asked alone."""
    served = [ServedEngine(MODEL, tmp_path / f"{number}.log") for number in range(3)]
    try:
        yield [engine.wait_ready() for engine in served]
    finally:
        for engine in served:
            engine.close()


def _piece(event: dict[str, Any]) -> str:
    choice = event["choices"][0] if event["choices"] else {}
    return str(choice.get("text") or (choice.get("delta") or {}).get("content") or "")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("asks_usage", [True, False])
async def test_a_stream_of_several_tokens_an_event_goes_on(
    engines: list[ServedEngine], path: str, *, asks_usage: bool
) -> None:
    """Its engine is killed in the middle: the text is that of one engine alone, and the tokens are those asked for."""
    asked = {**BODIES[path], "max_tokens": TOKENS, "ignore_eos": True}
    right = engines[2].ok(path, **asked)
    text = right["choices"][0].get("text") or right["choices"][0]["message"]["content"]
    rows = [
        Endpoint(f"r{number}", "m", "127.0.0.1", urlsplit(engine.url).port or 0, continues_messages=True)
        for number, engine in enumerate(engines[:2])
    ]
    body = {"model": "m", "temperature": 0, "stream": True, **asked}
    if asks_usage:
        body["stream_options"] = {"include_usage": True}
    events: list[dict[str, Any]] = []
    async with (
        running_gateway([], models=[MODEL], endpoints=rows) as gateway,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", timeout=60) as client,
    ):
        async with client.stream("POST", path, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    events.append(json.loads(line.removeprefix("data: ")))
                    if len(events) == 8:
                        (busy,) = [row for row in gateway.state()["models"]["m"]["replicas"] if row["in_flight"]]
                        engine = engines[int(busy["replica_id"][1])]
                        engine.process.send_signal(signal.SIGKILL)
                        await asyncio.to_thread(engine.process.wait)
        outcomes = gateway.state()["outcomes"]
        page = (await client.get(f"http://127.0.0.1:{gateway.admin_port}/metrics")).text
    assert [row["outcome"] for row in outcomes] == ["ok"]
    pieces = [piece for event in events if (piece := _piece(event))]
    assert "".join(pieces) == text
    assert len(pieces) < TOKENS / 2  # several tokens an event, before and after
    told = [event["usage"] for event in events if event.get("usage")]
    if asks_usage:
        (usage,) = told
        assert usage["completion_tokens"] == TOKENS
        assert usage["prompt_tokens"] == right["usage"]["prompt_tokens"]
    else:
        assert not told
    assert metric_in(page, "rackserve_tokens_total", kind="completion") == TOKENS
    assert metric_in(page, "rackserve_resumed_streams_total") == 1
