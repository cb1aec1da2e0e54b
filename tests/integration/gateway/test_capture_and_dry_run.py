"""What a gateway captures of its traffic, and what it says of a request that is only tried."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.spec.model_spec import ModelSpec
from deployments.commands.rehearse.dry_run import why_body
from deployments.commands.target.target import CommandTarget
from deployments.simulator.trace_file import read_trace
from tests.integration.gateway.running_gateway import NOT_HELD, ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain
from tests.integration.gateway.test_limits_and_keys import key, tenant

MODELS = [ModelSpec(name="m", engine="sim", policy="expected_ttft")]
TRIED = b"x-rackserve-dry-run: 1\r\n"
SYSTEM = "A very particular sentence that must never be written down. " * 200


async def _chat(received: Received, writer: asyncio.StreamWriter) -> None:
    usage = {
        "prompt_tokens": len(received.body) // 4,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    answer = {"choices": [{"message": {"role": "assistant", "content": "fine"}}], "usage": usage}
    writer.write(plain(json.dumps(answer).encode()))
    await asyncio.sleep(0)


def _body(question: str) -> bytes:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    return json.dumps({"model": "m", "messages": messages}).encode()


async def test_requests_are_captured_as_numbers_and_read_as_a_trace(tmp_path: Path) -> None:
    """Three requests with one long beginning: the trace has their lengths and their common blocks, and no text."""
    async with (
        ScriptedReplica(_chat) as replica,
        running_gateway([replica.port], models=MODELS, capture={"path": str(tmp_path / "seen")}) as gateway,
    ):
        for question in ("first", "second", "third " * 600):
            await ask(gateway.port, request(_body(question)))
    (file,) = (tmp_path / "seen").glob("*.jsonl")
    written = file.read_text()
    assert "particular" not in written
    assert "first" not in written
    trace = read_trace(file)
    assert [each.output_length for each in trace] == [7, 7, 7]
    assert trace[0].input_length == len(_body("first")) // 4
    first, *others = (each.hash_ids for each in trace)
    shared = [0, *(sum(one == two for one, two in zip(first, other, strict=False)) for other in others)]
    assert shared[1] >= len(trace[0].hash_ids) - 1
    assert shared[2] >= len(trace[0].hash_ids) - 1
    assert trace[2].hash_ids[-1] not in trace[0].hash_ids
    assert trace[0].timestamp == 0.0


async def test_nothing_is_captured_unless_it_is_asked_for() -> None:
    """Without the key there is no capture at all."""
    async with ScriptedReplica(_chat) as replica, running_gateway([replica.port], models=MODELS) as gateway:
        await ask(gateway.port, request(_body("hello")))
        assert gateway._plane.capture is None


async def test_a_dry_run_says_where_a_request_would_go_and_runs_nothing() -> None:
    """After one real request a like one would go where its beginning is held; neither replica hears of it."""
    heard: list[bytes] = []

    async def counting(received: Received, writer: asyncio.StreamWriter) -> None:
        heard.append(received.body)
        await _chat(received, writer)

    async with (
        ScriptedReplica(counting) as one,
        ScriptedReplica(counting) as two,
        running_gateway([one.port, two.port], models=MODELS) as gateway,
    ):
        _, headers, _ = await ask(gateway.port, request(_body("first"), headers=b"x-rackserve-explain: 1\r\n"))
        dispatcher = gateway._plane.models.dispatchers()["m"]
        before = json.dumps(dispatcher.view(0.0)["queue"]), dispatcher.load(0.0).offered_requests
        status, _, answer = await ask(gateway.port, request(_body("second"), headers=TRIED))
        found: dict[str, Any] = json.loads(answer)
        assert status == 200
        assert found["would"] == "go"
        assert found["picked"] == headers["x-rackserve-replica"]
        first, other = found["candidates"]
        assert first["cost"] < other["cost"]
        assert first["cached_bytes"] >= len(SYSTEM) > other["cached_bytes"] == 0
        assert first["terms"]["prefill_s"] < other["terms"]["prefill_s"]
        assert len(heard) == 1
        assert (json.dumps(dispatcher.view(0.0)["queue"]), dispatcher.load(0.0).offered_requests) == before
        dispatcher.check_integrity(0.0)
        again = await ask(gateway.port, request(_body("second"), headers=b"x-rackserve-explain: 1\r\n"))
        assert again[1]["x-rackserve-replica"] == found["picked"]


async def test_the_command_prints_a_dry_run(tmp_path: Path) -> None:
    """`rackserve why --body` shows where the request would go, and each replica with its costs."""
    file = tmp_path / "body.json"
    file.write_bytes(_body("anything"))
    async with ScriptedReplica(_chat) as replica, running_gateway([replica.port], models=MODELS) as gateway:
        target = CommandTarget(urls=(f"http://127.0.0.1:{gateway.port}",), address="")
        console = Console(width=160, record=True, file=io.StringIO())
        await asyncio.to_thread(why_body, file, target, api_key="", as_json=False, console=console)
    shown = console.export_text()
    assert "would go to r0" in shown
    assert "cached tokens" in shown


async def test_a_dry_run_says_when_a_request_would_wait_or_be_refused() -> None:
    """Without a replica it waits for the first, or is refused where the model holds none; round robin picks none."""
    held = NOT_HELD.model_copy(update={"cold_start_timeout_s": 60.0})
    for model, would in ((NOT_HELD, "be refused"), (held, "wait")):
        async with running_gateway([], models=[model]) as gateway:
            _, _, answer = await ask(gateway.port, request(_body("x"), headers=TRIED))
            found = json.loads(answer)
            assert (found["would"], found["candidates"], found["picked"]) == (would, [], "")
    async with ScriptedReplica(_chat) as replica, running_gateway([replica.port], models=[NOT_HELD]) as gateway:
        first, second = [json.loads((await ask(gateway.port, request(_body("x"), headers=TRIED)))[2]) for _ in range(2)]
        assert first == second
        assert (first["would"], first["picked"], len(first["candidates"])) == ("go", "", 1)


async def test_a_dry_run_needs_a_key_where_others_do() -> None:
    """It says what is cached, so it is for tenants alone."""
    async with (
        ScriptedReplica(_chat) as replica,
        running_gateway([replica.port], models=MODELS, tenants=[tenant("ann", b"ka")]) as gateway,
    ):
        assert (await ask(gateway.port, request(_body("x"), headers=TRIED)))[0] == 401
        status, _, answer = await ask(gateway.port, request(_body("x"), headers=TRIED + key(b"ka")))
        assert status == 200
        assert json.loads(answer)["tenant"] == "ann"
