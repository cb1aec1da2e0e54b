"""What `bench-gateway` measures: CPU time per request and per chunk, throughput, added latency, memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from tests.benchmarks.cpu_time import cpu_seconds, rss_bytes
from tests.benchmarks.load_driver import LoadDriver
from tests.benchmarks.load_plan import LoadPlan, LoadSeen
from tests.benchmarks.server_process import ServerProcess

SHORT_STREAM: Final = 8
LONG_STREAM: Final = 64
WARM_UP_SHARE: Final = 8
"""The warm-up round has this part of the requests."""

Measured = dict[str, tuple[float, str]]


class WrongAnswersError(Exception):
    """A contestant's answers were not what the engines sent; its cost means nothing."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load, measured on every contestant in turn.

    Attributes:
        name: as in tables and results.
        describes: one line for people.
        step_ms: the engines' time between two chunks of a stream.
        burst: the engines write the chunks of a step back to back.
        plan: the load; its port and seed are filled in.
        streams: measured twice, with short and with long streams, which gives the marginal cost of a chunk.
        direct: also measured without any gateway.
    """

    name: str
    describes: str
    plan: LoadPlan
    step_ms: int = 0
    burst: bool = True
    streams: bool = False
    direct: bool = False

    @property
    def engine_arguments(self) -> tuple[str, ...]:
        """How the engines run."""
        return ("--step-ms", str(self.step_ms), *(("--burst",) if self.burst else ()))

    def scaled(self, share: float) -> "Scenario":
        """Return the same scenario with fewer requests."""
        requests = max(self.plan.connections, int(self.plan.requests * share))
        return replace(self, plan=msgspec.structs.replace(self.plan, requests=requests))


def _plan(requests: int, connections: int, *, words: int = 40, chunks: int = 0, rate_per_s: float = 0.0) -> LoadPlan:
    return LoadPlan(
        port=0, requests=requests, connections=connections, words=words, chunks=chunks, rate_per_s=rate_per_s
    )


REQUEST_40: Final = Scenario(
    "request_40_words", "40-word prompts, short answers, 32 connections, closed loop", _plan(6000, 32), direct=True
)
REQUEST_2000: Final = Scenario(
    "request_2000_words",
    "2 000-word prompts, short answers, 32 connections, closed loop",
    _plan(1600, 32, words=2000),
    direct=True,
)
STREAM_SATURATED: Final = Scenario(
    "stream_saturated",
    "64-chunk streams, 48 at a time, engines write as fast as the gateway takes",
    _plan(800, 48, chunks=LONG_STREAM),
    streams=True,
)
STREAM_STEPS: Final = Scenario(
    "stream_steps",
    "64-chunk streams, 48 at a time, a chunk each 10 ms, an engine's chunks of one step together",
    _plan(240, 48, chunks=LONG_STREAM),
    step_ms=10,
    streams=True,
)
STREAM_TRICKLE: Final = Scenario(
    "stream_trickle",
    "64-chunk streams, 48 at a time, a chunk each 10 ms, spread evenly: the gateway sleeps between chunks",
    _plan(240, 48, chunks=LONG_STREAM),
    step_ms=10,
    burst=False,
    streams=True,
)
LATENCY: Final = Scenario(
    "latency", "40-word prompts, 400 requests/s (Poisson)", _plan(1200, 64, rate_per_s=400.0), direct=True
)
SCENARIOS: Final = (REQUEST_40, REQUEST_2000, LATENCY, STREAM_SATURATED, STREAM_STEPS, STREAM_TRICKLE)


class Measurer:
    """Measures one scenario's contestants.

    Args:
        scenario: what.
        servers: the contestants, by name, all in front of the same engines.
        driver: the load client.
    """

    def __init__(self, scenario: Scenario, servers: Mapping[str, ServerProcess], driver: LoadDriver) -> None:
        self.scenario = scenario
        self.latency_us: dict[str, list[float]] = {}
        self._servers = servers
        self._driver = driver

    def measure(self, name: str, turn: int) -> Measured:
        """Measure one contestant once; `turn` 0 warms up."""
        scenario = self.scenario if turn else self.scenario.scaled(1 / WARM_UP_SHARE)
        seen, cpu_us = self._run(name, scenario.plan, turn)
        self.latency_us[name] = seen.latency_us
        if not scenario.streams:
            return {
                "cpu": (cpu_us / seen.answered, "us/request"),
                "rate": (seen.requests_per_s, "requests/s"),
                "p50": (seen.percentile_us(50), "us"),
                "p99": (seen.percentile_us(99), "us"),
            }
        # Enough short streams for a steady share of a request: about as many chunks as the long ones have.
        factor = 3 if scenario.step_ms else 2
        plan = msgspec.structs.replace(scenario.plan, chunks=SHORT_STREAM, requests=scenario.plan.requests * factor)
        short, short_cpu_us = self._run(name, plan, turn)
        marginal = (cpu_us / seen.answered - short_cpu_us / short.answered) / (LONG_STREAM - SHORT_STREAM)
        return {
            "cpu": (cpu_us / seen.chunks, "us/chunk"),
            "cpu_marginal": (marginal, "us/chunk"),
            "rate": (seen.chunks / seen.wall_s, "chunks/s"),
            "reads": (seen.reads / seen.chunks, "client reads/chunk"),
        }

    def _run(self, name: str, plan: LoadPlan, turn: int) -> tuple[LoadSeen, float]:
        server = self._servers[name]
        before = cpu_seconds(server.pid)
        seen = run_checked(self._driver, msgspec.structs.replace(plan, port=server.port, seed=turn), name)
        return seen, (cpu_seconds(server.pid) - before) * 1e6


def run_checked(driver: LoadDriver, plan: LoadPlan, name: str) -> LoadSeen:
    """Run a plan.

    Raises:
        WrongAnswersError: not every answer was exactly what the engine sends.
    """
    seen = driver.run(plan)
    if seen.errors or seen.answered != plan.requests:
        samples = "\n".join(seen.error_samples)
        raise WrongAnswersError(f"{name}: {seen.errors} of {plan.requests} answers were wrong:\n{samples}")
    return seen


def memory_curve(
    server: ServerProcess, driver: LoadDriver, requests: int, sample_every: int, progress: Callable[[int], None]
) -> list[tuple[int, int]]:
    """Send `requests` requests, one in four streamed, and return (requests so far, resident bytes) along the way."""
    curve = []
    for sent in range(0, requests, sample_every):
        streamed = sample_every // 4
        for count, chunks in ((sample_every - streamed, 0), (streamed, SHORT_STREAM)):
            plan = LoadPlan(port=server.port, requests=count, connections=64, chunks=chunks, seed=sent + chunks)
            run_checked(driver, plan, server.name)
        curve.append((sent + sample_every, rss_bytes(server.pid)))
        progress(sent + sample_every)
    return curve
