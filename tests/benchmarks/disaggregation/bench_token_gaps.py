"""The longest gap between tokens of running streams while a long prompt comes, on real vLLM: `make bench-token-gaps`.

Two engines of SmolLM2, each on a core of its own, behind our gateway: two ordinary ones, then one that computes prompts
and one that generates answers, with KV blocks passed on over NIXL.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import httpx

from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.replicas.kv_transfer import KvTransfer
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.engine_dtype import engine_dtype
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.engine_contract.contract_models import VLLM
from tests.engine_contract.served_engine import ServedEngine
from tests.integration.gateway.running_gateway import running_gateway

ORDINARY: Final = "two ordinary replicas"
APART: Final = "prefill and decode apart"
LAYOUTS: Final = {ORDINARY: (Role.BOTH, Role.BOTH), APART: (Role.PREFILL, Role.DECODE)}
STREAMS: Final = 8
STREAM_TOKENS: Final = 400
PROMPT_REPEATS: Final = 110
"""Of a sentence of about nine tokens."""
TARGETS: Final = {"x-slo-tpot-ms": "20"}
SETTLED_S: Final = 3.0
"""Seconds for which the streams run before the prompt comes, and after its first token."""
MODEL: Final = ModelSpec.model_validate(
    {
        "name": "m",
        "engine": "vllm",
        "source": VLLM.source,
        "engine_args": {
            "dtype": engine_dtype(),
            "max_model_len": 4096,
            "num_gpu_blocks_override": 300,
            "kv_cache_memory_bytes": 1 << 30,
        },
    }
)


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Have processes that are started here run on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@asynccontextmanager
async def _layout(roles: tuple[Role, ...], folder: Path) -> AsyncIterator[Gateway]:
    engines: list[ServedEngine] = []
    try:
        for core, role in enumerate(roles):
            with _on_core(core):
                engines.append(ServedEngine(MODEL, folder / f"{core}-{role}.log", role))
        for engine in engines:
            await asyncio.to_thread(engine.wait_ready)
        rows = [_row(f"r{at}", engine, role) for at, (engine, role) in enumerate(zip(engines, roles, strict=True))]
        async with running_gateway([], models=[MODEL], endpoints=rows) as gateway:
            yield gateway
    finally:
        for engine in engines:
            await asyncio.to_thread(engine.close)


def _row(name: str, engine: ServedEngine, role: Role) -> Endpoint:
    card = None if role is Role.BOTH else KvTransfer(**engine.view("transfer"))
    return Endpoint(name, "m", "127.0.0.1", urlsplit(engine.url).port or 0, role=role, transfer=card)


async def _stream(client: httpx.AsyncClient, prompt: str, tokens: int, times_s: list[float]) -> None:
    body = {"model": "m", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    async with client.stream("POST", "/v1/completions", json=body, headers=TARGETS) as response:
        if not response.is_success:
            raise RuntimeError(f"{response.status_code}: {(await response.aread())[:300]!r}")
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                times_s.append(time.monotonic())  # noqa: PERF401 - it is looked at while it grows


async def _round(gateway: Gateway, number: int) -> tuple[float, float]:
    """Return the longest gap between tokens of running streams while a prompt comes, and its TTFT, in seconds."""
    running: list[list[float]] = [[] for _ in range(STREAMS)]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", timeout=300) as client:
        talks = [
            asyncio.create_task(_stream(client, f"Tale {number} {at}: once", STREAM_TOKENS, times))
            for at, times in enumerate(running)
        ]
        while not all(running):  # noqa: ASYNC110 - streams set no event
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLED_S)
        first: list[float] = []
        asked_s = time.monotonic()
        prompt = f"Case {number}. " + "How rivers shape the valleys they flow through. " * PROMPT_REPEATS
        await _stream(client, prompt, 2, first)
        await asyncio.sleep(SETTLED_S)
        until_s = time.monotonic()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
    gaps = [
        after - before
        for times in running
        for before, after in zip(times, [*times[1:], until_s], strict=True)
        if after > asked_s
    ]
    return max(gaps), first[0] - asked_s


async def _measure(rounds: int, folder: Path) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for at, (name, roles) in enumerate(LAYOUTS.items()):
        async with _layout(roles, folder) as gateway:
            await _round(gateway, 1000 * at)  # the first transfer is also the engines' first contact
            found[name] = []
            for number in range(1, rounds + 1):
                found[name].append(await _round(gateway, 1000 * at + number))
                gap_s, ttft_s = found[name][-1]
                print(f"{name}, round {number} of {rounds}: longest gap {gap_s:.2f} s, TTFT {ttft_s:.2f} s", flush=True)
            legs = gateway.state()["models"]["m"]["replicas"]
            print(f"{name}: sent { ({row['replica_id']: row['sent'] for row in legs}) }", flush=True)
    return found


def main() -> int:
    """Run; return the exit code: 0 if the bar holds, else 1."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count, of each layout")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-token-gaps-") as folder:
        found = asyncio.run(_measure(options.rounds, Path(folder)))
    figures = {
        name: {"longest_gap_s": [gap for gap, _ in rounds], "ttft_s": [ttft for _, ttft in rounds]}
        for name, rounds in found.items()
    }
    gap_s = {name: median(figures[name]["longest_gap_s"]) for name in LAYOUTS}
    for name in LAYOUTS:
        print(f"{name:26} longest gap {gap_s[name]:.2f} s, TTFT {median(figures[name]['ttft_s']):.2f} s (medians)")
    bars = [Bar("token_gap_apart_vs_ordinary", gap_s[APART] / gap_s[ORDINARY], "<=", 0.5)]
    path = write_result(
        "bench-token-gaps", {"layouts": figures}, bars, versions=our_versions(), directory=options.results
    )
    print(f"results: {path}")
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
