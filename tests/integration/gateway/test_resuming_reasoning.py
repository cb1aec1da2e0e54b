"""A replica that dies behind its reasoning: another engine goes on with the text, as the first would have."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from cluster.spec.model_spec import ModelSpec
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from tests.engine_contract.served_engine import metric_in
from tests.integration.gateway.running_gateway import ask, request, running_gateway

MODEL = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "sim",
        "policy": "round_robin",
        "sim": {"reasoning_tokens": 10, "answer_tokens": 60, "inter_token_s": 0.01},
    }
)
ASK = {"model": "m", "messages": [{"role": "user", "content": "How many are there?"}]}


def _said(events: bytes) -> tuple[str, str]:
    """Return the reasoning and the text of a stream's events."""
    data = [event.removeprefix(b"data: ") for event in events.split(b"\n\n") if event.startswith(b"data: {")]
    choices: list[dict[str, Any]] = [choice for each in data for choice in json.loads(each).get("choices", ())]
    reasoning, text = (
        "".join(choice["delta"].get(name) or "" for choice in choices) for name in ("reasoning", "content")
    )
    return reasoning, text


async def test_the_answer_is_the_same_as_if_nothing_had_happened() -> None:
    """Real replicas with simulated engines: the stream is that of an answer that was not cut, its counts too."""
    async with AsyncExitStack() as stack:
        replicas = {}
        for name in ("r0", "r1"):
            replica = ReplicaServer(MODEL, engine_for(MODEL), replica_id=name, host="127.0.0.1", credential="secret")
            replicas[name] = (replica, await replica.start())
            stack.push_async_callback(replica.stop)
        endpoints = [endpoint for _, endpoint in replicas.values()]
        gateway = await stack.enter_async_context(
            running_gateway([], models=[MODEL], credential="secret", endpoints=endpoints)
        )
        _, _, whole = await ask(gateway.port, request(json.dumps(ASK).encode()))
        message = json.loads(whole)["choices"][0]["message"]
        told = json.loads(whole)["usage"]["completion_tokens_details"]
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        asked = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
        writer.write(request(json.dumps(asked).encode(), headers=b"x-rackserve-explain: 1\r\n"))
        got = b""
        while got.count(b'"content"') < 8:
            got += await reader.read(65536)
        head, _, _ = got.partition(b"\r\n\r\n")
        used = next(name for name in replicas if f"x-rackserve-replica: {name}".encode() in head)
        await replicas[used][0].stop()
        while b"[DONE]" not in got:
            more = await reader.read(65536)
            assert more, got[-500:]
            got += more
        writer.close()
        events = b"\n\n".join(
            line.rstrip(b"\r") for line in got.partition(b"\r\n\r\n")[2].split(b"\n") if line.startswith(b"data: ")
        )
        assert b'"error"' not in events
        assert _said(events) == (message["reasoning"], message["content"])
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]
        last = json.loads(events.split(b"data: ")[-2])  # before [DONE]
        assert last["usage"]["completion_tokens_details"] == told
        _, _, page = await ask(gateway.admin_port, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        assert metric_in(page.decode(), "rackserve_tokens_total", kind="reasoning") == 2 * told["reasoning_tokens"]
