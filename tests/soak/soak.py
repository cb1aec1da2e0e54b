"""`make soak`: a gateway for twenty minutes under all that clients do: nothing grows, each request counts once.

Meanwhile tenants are reloaded every few seconds, and one of the two simulated engines is killed and started anew.
"""

import argparse
import asyncio
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import psutil

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.server_process import ServerProcess, unwind_on_sigterm
from tests.free_ports import free_port
from tests.soak.requests import KEYS, KINDS, Connection

CLIENTS: Final = 32
MANY_CLIENTS: Final = 128
"""Clients of the long form, which is to send a million requests in twenty minutes."""
FAST: Final = "--times-as-fast", "10"
"""At a GPU's usual speed two engines compute the prompts of some 230 requests a second."""
WARM_UP: Final = 0.4
"""Part of the time after which caches, pools and the allocator have what they need."""
RELOAD_S: Final = 5.0
RESTART_S: Final = 15.0
LOOK_S: Final = 1.0
MOST_GROWTH: Final = 1.05
"""Memory at the end over that after the warm-up: medians of a tenth of the time each."""
SETTLES_S: Final = 2.0
"""Seconds after the last request in which everything is given back."""


@dataclass(slots=True)
class Soaked:
    """What was seen.

    Attributes:
        expected: requests by the outcome that clients saw.
        broken: requests during which the gateway closed the connection or answered otherwise.
        memory: the gateway's resident bytes, once a second.
        files: its open files and connections, before the load and after it.
        counted: requests by outcome, as the gateway counts them.
        in_flight: requests that the gateway has under way, `SETTLES_S` after the last one.
        pooled: connections to engines that may be kept for the next requests: as many as there were clients, at each.
    """

    expected: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    files: tuple[int, int] = (0, 0)
    counted: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    pooled: int = 2 * CLIENTS


class Soak:
    """One run.

    Args:
        folder: for logs and tenants' files.
        seconds: how long the load lasts.
        seed: draws what clients do.
        clients: how many there are, each with one request at a time.
    """

    def __init__(self, folder: Path, seconds: float, seed: int, clients: int = CLIENTS) -> None:
        self._folder = folder
        self._seconds = seconds
        self._seed = seed
        self._clients = clients
        self._seen = Soaked(pooled=2 * clients)
        self._engine_ports = [free_port(), free_port()]
        self._port, self._admin_port = free_port(), free_port()
        self._tenants = folder / "tenants.yaml"
        self._ends_s = 0.0

    def run(self) -> Soaked:
        """Run, and return what was seen."""
        self._write_tenants(0)
        with self._engine(0), self._gateway() as gateway:
            asyncio.run(self._load(gateway))
        return self._seen

    def _engine(self, number: int) -> ServerProcess:
        port = self._engine_ports[number]
        command = [sys.executable, "-m", "tests.benchmarks.routing.sim_engines", str(port), *FAST]
        return ServerProcess(f"engine-{number}", command, port=port, log_dir=self._folder)

    def _gateway(self) -> ServerProcess:
        command = [str(Path(sys.executable).with_name("rackserve")), "gateway", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--admin-port", str(self._admin_port), "--no-rate-probe"]
        command += [word for port in self._engine_ports for word in ("--replica", f"http://127.0.0.1:{port}")]
        command += ["--tenants", str(self._tenants), "--usage-folder", str(self._folder / "usage")]
        command += ["--access-log", str(self._folder / "access.log")]
        return ServerProcess("gateway", command, port=self._port, log_dir=self._folder, ready_path="/ready")

    def _write_tenants(self, version: int) -> None:
        rows = [
            f"  - {{name: {name}, key_sha256: {hashlib.sha256(key.encode()).hexdigest()}, weight: {1 + version % 3}}}"
            for name, key in KEYS.items()
        ]
        beside = self._tenants.with_suffix(".new")
        beside.write_text("\n".join(["tenants:", *rows]), encoding="utf-8")
        beside.replace(self._tenants)

    async def _load(self, gateway: ServerProcess) -> None:
        process = psutil.Process(gateway.pid)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._admin_port}", trust_env=False) as admin:
            before = process.num_fds()
            self._ends_s = time.monotonic() + self._seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(process))
                group.create_task(self._reload())
                group.create_task(self._restart())
                for number in range(self._clients):
                    group.create_task(self._client(number))
            await asyncio.sleep(SETTLES_S)
            state: dict[str, Any] = (await admin.get("/state")).json()
        for row in state["outcomes"]:
            self._seen.counted[row["outcome"]] += row["count"]
        self._seen.in_flight = sum(row["in_flight"] for model in state["models"].values() for row in model["replicas"])
        self._seen.files = before, process.num_fds()

    async def _client(self, number: int) -> None:
        rng = Random(self._seed * self._clients + number)
        acts, weights = list(KINDS), list(KINDS.values())
        connection = Connection(self._port)
        while time.monotonic() < self._ends_s:
            (act,) = rng.choices(acts, weights)
            try:
                outcome = await act(connection, rng)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self._seen.broken[f"{act.__name__}: {type(error).__name__}"] += 1
                connection.close()
                continue
            if outcome.startswith(("no ", "status ")):
                self._seen.broken[f"{act.__name__}: {outcome}"] += 1
            elif outcome:
                self._seen.expected[outcome] += 1
        connection.close()

    async def _watch(self, process: psutil.Process) -> None:
        while time.monotonic() < self._ends_s:
            self._seen.memory.append(process.memory_info().rss)
            await asyncio.sleep(LOOK_S)

    async def _reload(self) -> None:
        version = 0
        while time.monotonic() < self._ends_s - RELOAD_S:
            await asyncio.sleep(RELOAD_S)
            version += 1
            await asyncio.to_thread(self._write_tenants, version)

    async def _restart(self) -> None:
        """Have the second engine come and go."""
        while time.monotonic() < self._ends_s - RESTART_S:
            engine = await asyncio.to_thread(self._engine(1).__enter__)
            try:
                await asyncio.sleep(RESTART_S)
                os.kill(engine.pid, signal.SIGKILL)
            finally:
                await asyncio.to_thread(engine.stop)


def bars(seen: Soaked, most_growth: float = MOST_GROWTH) -> list[Bar]:
    """Return what a soak promises; in a short one the journals of requests are still filling."""
    tenth = max(1, len(seen.memory) // 10)
    warm = seen.memory[int(WARM_UP * len(seen.memory)) :]
    first, last = sorted(warm[:tenth])[tenth // 2], sorted(warm[-tenth:])[tenth // 2]
    wrong = sum(abs(seen.expected[name] - seen.counted[name]) for name in seen.expected | seen.counted)
    return [
        Bar("soak_memory_growth", last / first, "<=", most_growth),
        Bar("soak_files_more", float(max(0, seen.files[1] - seen.files[0])), "<=", seen.pooled + 8.0),
        Bar("soak_requests_in_flight_afterwards", float(seen.in_flight), "<=", 0.0),
        Bar("soak_requests_broken", float(seen.broken.total()), "<=", 0.0),
        Bar("soak_requests_miscounted", float(wrong), "<=", 0.0),
    ]


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200.0, help="how long the load lasts")
    parser.add_argument("--seed", type=int, default=1, help="draws what clients do")
    parser.add_argument("--clients", type=int, default=MANY_CLIENTS, help="clients, each with one request at a time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        seen = Soak(Path(folder), options.seconds, options.seed, options.clients).run()
    print(f"{seen.expected.total()} requests: {dict(seen.expected)}")  # noqa: T201
    print(f"counted: {dict(seen.counted)}; broken: {dict(seen.broken)}")  # noqa: T201
    print(f"memory, MB: {[round(each / 1e6) for each in seen.memory[:: max(1, len(seen.memory) // 20)]]}")  # noqa: T201
    return report_bars(bars(seen))


if __name__ == "__main__":
    sys.exit(main())
