"""How an engine ends: by request, by its own death, by its replica's."""

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.engine_contract.contract_models import LONG_ANSWER, SIM, VLLM
from tests.engine_contract.served_engine import ServedEngine, events_of


def alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_a_stopped_engine_leaves_nothing_behind(engine_to_end: ServedEngine, client: httpx.AsyncClient) -> None:
    """Stopping ends what runs with an error, ends every process of the engine, and can be asked for twice."""
    engine = engine_to_end
    children = engine.view("children")
    assert engine.view("health") is None
    body = {"model": "contract-model", "prompt": "Once", "max_tokens": LONG_ANSWER, "ignore_eos": True, "stream": True}
    async with client.stream("POST", f"{engine.url}/v1/completions", json=body) as response:
        events = events_of(response.aiter_lines())
        await anext(events)
        stopping = asyncio.create_task(client.get(f"{engine.url}/contract/stop"))
        rest = [event async for event in events if event is not None]
        await stopping
    last = rest[-1]
    assert last is not None
    assert "error" in last or last["choices"][0]["finish_reason"] == "abort", "a stream that was cut off says so"
    assert "not running" in engine.view("health")
    assert engine.view("stats")["running"] == 0
    assert (await client.get(f"{engine.url}/health")).status_code == 503
    assert engine.post("/v1/completions", {**body, "stream": False}).status_code >= 500
    engines = [pid for pid in children if alive(pid) and "resource_tracker" not in _command(pid)]
    assert not engines, [(pid, _command(pid)) for pid in engines]


@pytest.mark.long
@pytest.mark.vllm
def test_a_dead_engine_process_is_noticed(tmp_path: Path) -> None:
    """SIGKILL to vLLM's engine process: health says so within seconds; stopping afterwards works."""
    served = ServedEngine(VLLM, tmp_path / "dead.log")
    try:
        served.wait_ready()
        (core,) = [pid for pid in served.view("children") if "EngineCore" in _command(pid)]
        os.kill(core, signal.SIGKILL)
        give_up = time.monotonic() + 5
        while served.view("health") is None:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert "has died" in served.view("health")
        assert httpx.get(f"{served.url}/health").status_code == 503
        served.view("stop")
    finally:
        served.close()


@pytest.mark.long
@pytest.mark.vllm
def test_an_engine_process_ends_with_its_replica(tmp_path: Path) -> None:
    """SIGKILL to the replica's process, even while it loads: no engine process outlives it by more than seconds."""
    served = ServedEngine(VLLM, tmp_path / "orphan.log")
    try:
        served.wait_logged("(Starting to load model)")
        children = [
            int(word)
            for task in Path(f"/proc/{served.process.pid}/task").glob("*/children")
            for word in task.read_text().split()
        ]
        assert any("EngineCore" in _command(pid) for pid in children)
        served.process.kill()
        served.process.wait()
        give_up = time.monotonic() + 6
        while any(alive(pid) for pid in children):
            assert time.monotonic() < give_up, [(pid, _command(pid)) for pid in children if alive(pid)]
            time.sleep(0.1)
    finally:
        served.close()


def test_a_sim_engine_takes_its_time_to_start(tmp_path: Path) -> None:
    """`start_s` is how long it takes until it answers."""
    began = time.monotonic()
    model = SIM.model_copy(update={"sim": SIM.sim.model_copy(update={"start_s": 1.5})})
    served = ServedEngine(model, tmp_path / "slow.log")
    try:
        served.wait_ready()
        assert time.monotonic() - began >= 1.5
    finally:
        served.close()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except FileNotFoundError:
        return ""
