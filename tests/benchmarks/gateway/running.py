"""One run of `bench-gateway`: starts everybody anew for each shape, measures them in turn, keeps what it found."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.cores import Cores, pinned
from tests.benchmarks.gateway.contestants import OURS, Contestant
from tests.benchmarks.gateway.measuring import (
    CpuMeasurer,
    LatencyMeasurer,
    Measured,
    idle_shares,
    memory_curve,
)
from tests.benchmarks.gateway.shapes import BARRED, CPU_SHAPES, IDLE, LATENCY, MEMORY, WORDS_40, Shape
from tests.benchmarks.gateway_load.load_driver import LoadDriver
from tests.benchmarks.gateway_load.mock_engine import EngineKind
from tests.benchmarks.load_plan import LoadPlan
from tests.benchmarks.rounds import Figures, interleaved
from tests.benchmarks.server_process import ServerProcess
from tests.free_ports import free_ports

IDLE_REPLICAS: Final = 256
_MANY: Final = 16
"""Replicas above which a contestant is given some seconds to find all of them."""
_FINDING_S: Final = 5.0
_SERVING_WAIT_S: Final = 30.0
_IDLE_S: Final = 20.0, 64.0
_QUICK_IDLE_S: Final = 0.5, 1.0
"""Seconds to settle, and seconds that are measured."""
_QUICK_SHARE: Final = 0.05
_ROUNDS_WITHOUT_BARS: Final = 3
"""Rounds at most of shapes for which nothing is promised; with 256 servers a peer takes minutes for one."""


@dataclass(frozen=True, slots=True)
class Field:
    """Everybody, up and serving.

    Attributes:
        servers: the gateways, by contestant.
        engine_ports: a port of each contestant's engines.
    """

    servers: dict[str, ServerProcess]
    engine_ports: dict[str, int]


@dataclass(slots=True)
class GatewayBench:
    """One run.

    Args:
        contestants: who is measured.
        shapes: the names of what is measured.
        rounds: rounds that count, of the shapes with bars.
        cores: who runs where.
        log_dir: where the servers' logs go.
        quick: run a small part of each load.
        progress: told what is going on.
        found: given the name and the figures of each shape as soon as it is measured.

    Attributes:
        figures: by shape, of each contestant.
        latency_us: by contestant, the quantiles of its latency at 30 % load.
        idle: by contestant, the share of a core with 256 servers and no requests.
        memory: (requests so far, resident bytes) of ours.
    """

    contestants: Sequence[Contestant]
    shapes: Sequence[str]
    rounds: int
    cores: Cores
    log_dir: Path
    quick: bool
    progress: Callable[[str], None]
    found: Callable[[str, Figures], None]
    figures: dict[str, Figures] = field(default_factory=dict)
    latency_us: dict[str, list[float]] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)
    memory: list[tuple[int, int]] = field(default_factory=list)
    _up: dict[tuple[int, int], Field] = field(default_factory=dict)
    _at_end: ExitStack = field(default_factory=ExitStack)

    def run(self) -> None:
        """Measure everything."""
        share = _QUICK_SHARE if self.quick else 1.0
        with self._at_end, LoadDriver(self.cores.load) as driver:
            for shape in CPU_SHAPES:
                if shape.name in self.shapes:
                    self._run_cpu(shape.scaled(share), driver)
            if LATENCY in self.shapes:
                self._run_latency(driver, share)
            if IDLE in self.shapes:
                self._run_idle(driver)
            if MEMORY in self.shapes:
                self._run_memory(driver)

    def _run_cpu(self, shape: Shape, driver: LoadDriver) -> None:
        self.progress(f"{shape.name}: {shape.describes}")
        with self._everybody(shape, driver) as everybody:
            measurer = CpuMeasurer(shape, everybody.servers, driver)
            self._interleaved(shape.name, measurer.measure)

    def _run_latency(self, driver: LoadDriver, share: float) -> None:
        self.progress(f"{LATENCY}: prompts of 40 words, Poisson arrivals, 30 % of each gateway's core")
        with self._everybody(WORDS_40, driver) as everybody:
            measurer = LatencyMeasurer(everybody.servers, everybody.engine_ports, driver, share)
            self._interleaved(LATENCY, measurer.measure)
        self.latency_us = measurer.latency_us

    def _run_idle(self, driver: LoadDriver) -> None:
        self.progress(f"{IDLE}: {IDLE_REPLICAS} replicas, no requests")
        shape = Shape(IDLE, "", WORDS_40.plan, replicas=IDLE_REPLICAS)
        with self._everybody(shape, driver) as everybody:
            settle_s, window_s = _QUICK_IDLE_S if self.quick else _IDLE_S
            self.idle = idle_shares(everybody.servers, settle_s, window_s)

    def _run_memory(self, driver: LoadDriver) -> None:
        ours = next((each for each in self.contestants if each.name in OURS), None)
        if ours is None:
            return
        requests, every = (400, 100) if self.quick else (200_000, 10_000)
        shape = Shape(MEMORY, "", WORDS_40.plan)
        with self._everybody(shape, driver) as everybody:
            self.memory = memory_curve(
                everybody.servers[ours.name],
                driver,
                requests,
                every,
                lambda sent: self.progress(f"{MEMORY}: {sent} of {requests} requests"),
            )

    def _interleaved(self, shape: str, measure: Callable[[str, int], Measured]) -> None:
        has_bar = shape in {each.name for each in BARRED}
        rounds = self.rounds if has_bar else min(self.rounds, _ROUNDS_WITHOUT_BARS)
        self.figures[shape] = interleaved([each.name for each in self.contestants], rounds, measure)
        self.found(shape, self.figures[shape])

    @contextmanager
    def _everybody(self, shape: Shape, driver: LoadDriver) -> Iterator[Field]:
        """Start everybody anew: no shape pays for what another leaves behind (a grown prefix tree); once if `quick`."""
        with ExitStack() as stack:
            if not self.quick:
                yield self._start(stack, shape, driver)
                return
            engines = shape.replicas, shape.step_ms
            if engines not in self._up:
                self._up[engines] = self._start(self._at_end, shape, driver)
            yield self._up[engines]

    def _start(self, stack: ExitStack, shape: Shape, driver: LoadDriver) -> Field:
        engines = {
            kind: self._start_engines(stack, kind, shape) for kind in {each.engines for each in self.contestants}
        }
        servers = {}
        for each in self.contestants:
            server = each.start(engines[each.engines], self.cores, self.log_dir)
            stack.callback(server.stop)
            servers[each.name] = server
        for server in servers.values():
            server.wait_ready()
            _wait_serving(server, driver)
        if shape.replicas > _MANY and not self.quick:
            time.sleep(_FINDING_S)
        return Field(servers, {each.name: engines[each.engines][0] for each in self.contestants})

    def _start_engines(self, stack: ExitStack, kind: EngineKind, shape: Shape) -> list[int]:
        ports = free_ports(shape.replicas)
        command = [sys.executable, "-m", "tests.benchmarks.gateway_load.mock_engine", *kind.arguments()]
        command += shape.engine_arguments
        command += [word for port in ports for word in ("--port", str(port))]
        name = f"engines-{kind.prompt_api}-{kind.owned_by}"
        server = ServerProcess(name, pinned(command, self.cores.load), port=ports[0], log_dir=self.log_dir)
        stack.enter_context(server)
        return ports


def _wait_serving(server: ServerProcess, driver: LoadDriver) -> None:
    """Return when a gateway answers a chat: some say that they are ready before they know the engines' models.

    Raises:
        RuntimeError: it never does.
    """
    deadline = time.monotonic() + _SERVING_WAIT_S
    seed = 1_000_000
    while (seen := driver.run(LoadPlan(port=server.port, requests=1, connections=1, seed=seed))).errors:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{server.name} is ready but answers no chat: {seen.error_samples}")
        seed += 1
        time.sleep(0.1)
