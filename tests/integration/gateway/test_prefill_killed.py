"""Engines killed at each point of a divided request's life: no request fails, no text is wrong, no blocks stay held."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.replicas.kv_transfer import KvTransfer
from router.replicas.load_report import LoadReport
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import NEEDS_NIXL, ServedEngine, events_of
from tests.integration.gateway.running_gateway import running_gateway, until
from tests.machine_speed import slowness

PROMPT = "How rivers shape the valleys that they flow through. " * 300
TOKENS = 60
SIM = {
    "kv_blocks": 2_000,
    "prefill_tokens_per_s": 6_000,
    "inter_token_s": 0.03,
    "transfer_bytes_per_s": 8e7,
    "kv_bytes_per_token": 16_000,
    "transfer_lease_s": 4,
}
"""The prompt takes two thirds of a second to compute and as long to pass on, so that a test can be in time."""

Engines = dict[str, ServedEngine]
Reached = Callable[[Engines, list[str]], Awaitable[bool]]


async def _metric(engine: ServedEngine, name: str) -> float:
    return await asyncio.to_thread(engine.metric, name) if engine.process.poll() is None else 0.0


async def _is_computed(engines: Engines, _: list[str]) -> bool:
    # What its replica sees; vLLM's own metric is of its last step, and the prompt is but one step.
    stats = await asyncio.to_thread(engines["p0"].view, "stats")
    return bool(stats["running"])


async def _is_kept(engines: Engines, _: list[str]) -> bool:
    return await _metric(engines["p0"], "sim:kept_blocks") > 0


async def _is_fetched(engines: Engines, _: list[str]) -> bool:
    return await _metric(engines["d0"], "vllm:num_requests_kv_fetch_by_stage") > 0


def _has_tokens(count: int) -> Reached:
    async def reached(_: Engines, said: list[str]) -> bool:
        return len(said) >= count

    return reached


async def _at_once(_: Engines, __: list[str]) -> bool:
    return True


POINTS: dict[str, Reached] = {
    "before it": _at_once,
    "while its prompt is computed": _is_computed,
    "while its prompt is kept": _is_kept,
    "while its prompt is passed on": _is_fetched,
    "at its first token": _has_tokens(1),
    "within its stream": _has_tokens(TOKENS // 2),
}


SHORT = {"while its prompt is computed", "while its prompt is passed on", "within its stream"}
"""The points at which engines are killed in `make test`; `make test-all` has the others, too."""


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the text of an engine that is asked alone."""
    engine = ServedEngine(_model(), tmp_path_factory.mktemp("alone") / "log")
    try:
        answer = engine.wait_ready().complete(PROMPT, max_tokens=TOKENS)
        return str(answer["choices"][0]["text"])
    finally:
        engine.close()


def _model() -> ModelSpec:
    return ModelSpec.model_validate({"name": "m", "engine": "sim", "sim": SIM})


@contextmanager
def _engines(model: ModelSpec, folder: Path) -> Iterator[Engines]:
    """Run two engines of each role."""
    engines = {name: _engine(model, name, folder) for name in ("p0", "p1", "d0", "d1")}
    try:
        for engine in engines.values():
            engine.wait_ready()
        yield engines
    finally:
        for engine in engines.values():
            engine.close()


def _engine(model: ModelSpec, name: str, folder: Path) -> ServedEngine:
    return ServedEngine(model, folder / f"{name}.log", Role.PREFILL if name[0] == "p" else Role.DECODE)


@asynccontextmanager
async def _before(engines: Engines, model: ModelSpec) -> AsyncIterator[Gateway]:
    """Run a gateway before engines, to which the first of each role is the better one."""
    rows = [_row(name, engine) for name, engine in engines.items()]
    async with running_gateway([], models=[model], endpoints=rows) as gateway:
        for name, waiting in (("p0", 0), ("p1", 6_000), ("d0", 0), ("d1", 0)):
            running = {"d0": 40, "d1": 60}.get(name, 0)
            gateway.apply_report(name, LoadReport(1, running, 0, waiting, 0.1, 64_000, 6_000.0, 1_000.0))
        yield gateway


def _row(name: str, engine: ServedEngine) -> Endpoint:
    is_prefill = name.startswith("p")
    card = KvTransfer(**engine.view("transfer"))
    role = Role.PREFILL if is_prefill else Role.DECODE
    port = urlsplit(engine.url).port or 0
    return Endpoint(name, "m", "127.0.0.1", port, role=role, transfer=card, continues_messages=True)


async def _stream(gateway: Gateway, said: list[str], prompt: str = PROMPT) -> list[dict[str, Any]]:
    """Ask, and add each piece of the answer to `said`; return all events."""
    body = {"model": "m", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "stream": True}
    events: list[dict[str, Any]] = []
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", timeout=60) as client,
        client.stream("POST", "/v1/completions", json=body) as response,
    ):
        assert response.status_code == 200, await response.aread()
        async for event in events_of(response.aiter_lines()):
            if event is None:
                return events
            events.append(event)
            assert "error" not in event, event
            said.extend(choice["text"] for choice in event["choices"] if choice["text"])
    raise AssertionError("the stream ended without [DONE]")


@pytest.mark.parametrize("victim", ["p0", "d0"])
@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point in SHORT else pytest.mark.long) for point in POINTS]
)
async def test_a_killed_engine_costs_no_request(victim: str, point: str, right: str, tmp_path: Path) -> None:
    """SIGKILL of the engine that computes or of the one that answers: the stream has the whole right text."""
    with _engines(_model(), tmp_path) as engines:
        async with _before(engines, _model()) as gateway:
            said = await _killed_at(gateway, engines, victim, POINTS[point] if point != "before it" else None)
            assert "".join(said) == right
            await _nothing_is_held(gateway, engines, victim)


async def _killed_at(
    gateway: Gateway, engines: Engines, victim: str, reached: Reached | None, prompt: str = PROMPT
) -> list[str]:
    """Kill an engine once a request has come so far, or before it is sent; return the pieces of its answer."""
    said: list[str] = []
    if reached is None:
        os.kill(engines[victim].process.pid, signal.SIGKILL)
        await _stream(gateway, said, prompt)
        return said
    asking = asyncio.create_task(_stream(gateway, said, prompt))
    async with asyncio.timeout(60 * slowness()):
        while not await reached(engines, said):
            if asking.done():
                asking.result()
                pytest.fail("the request was over before")
            await asyncio.sleep(0.005)
    os.kill(engines[victim].process.pid, signal.SIGKILL)
    await asking
    return said


async def _nothing_is_held(gateway: Gateway, engines: Engines, victim: str) -> None:
    """Wait until what was promised to the dead is free, as it is after the lease."""

    def is_idle() -> bool:
        (state,) = gateway.state()["models"].values()
        return all(row["in_flight"] == 0 for row in state["replicas"])

    await until(is_idle, within_s=2.0)  # a client has its last event before the replica's answer has ended
    for name, engine in engines.items():
        if name != victim:
            async with asyncio.timeout(3 * SIM["transfer_lease_s"] * slowness()):
                while await _metric(engine, "vllm:kv_cache_usage_perc") > 0:  # noqa: ASYNC110 - engines tell nothing
                    await asyncio.sleep(0.05)


VLLM_PROMPT = "How rivers shape the valleys that they flow through. " * 60 + "They"
"""It ends in no space: one before an answer's line end would be one token with it where the answer is continued."""
VLLM_MODEL = VLLM.model_copy(
    update={
        "name": "m",
        "engine_args": {
            **VLLM.engine_args,
            "kv_transfer_config": {"kv_connector_extra_config": {"kv_lease_duration": SIM["transfer_lease_s"]}},
        },
    }
)


def _has_been_computed() -> Reached:
    """Return what is reached once the prompt is computed: its blocks are kept, or on their way."""
    seen = False

    async def reached(engines: Engines, _: list[str]) -> bool:
        nonlocal seen
        running = await _is_computed(engines, [])
        seen = seen or running
        return seen and not running

    return reached


@pytest.mark.vllm
@pytest.mark.long
@pytest.mark.timeout(3600)
@NEEDS_NIXL
@pytest.mark.parametrize("victim", ["p0", "d0"])
async def test_killed_real_engines_cost_no_request(victim: str, tmp_path: Path) -> None:
    """The same with vLLM over NIXL. Blocks pass in milliseconds there, so kept and on their way are one point."""
    points: dict[str, Callable[[], Reached | None]] = {
        "before it": lambda: None,
        "while its prompt is computed": lambda: _is_computed,
        "once its prompt is computed": _has_been_computed,
        "at its first token": lambda: _has_tokens(1),
        "within its stream": lambda: _has_tokens(TOKENS // 2),
        "at its last token": lambda: _has_tokens(TOKENS - 1),
    }
    with _engines(VLLM_MODEL, tmp_path) as engines:
        for number, point in enumerate(points):
            prompt = f"Case {number} of {victim}. {VLLM_PROMPT}"
            asked = engines["p1"].complete(prompt, max_tokens=TOKENS, ignore_eos=True, cache_salt="alone")
            async with _before(engines, VLLM_MODEL) as gateway:
                said = await _killed_at(gateway, engines, victim, points[point](), prompt)
                assert "".join(said) == asked["choices"][0]["text"], (victim, point)
                await _nothing_is_held(gateway, engines, victim)
            print(f"{victim} killed {point}: the right text")  # noqa: T201
            engines[victim].close()
            engines[victim] = _engine(VLLM_MODEL, victim, tmp_path)
            engines[victim].wait_ready()
