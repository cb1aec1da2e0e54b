"""How one contestant is measured once: CPU time of a request, latency that it adds, CPU time when idle, memory."""

import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from tests.benchmarks.cpu_time import cpu_seconds, rss_bytes
from tests.benchmarks.gateway.shapes import WORDS_40, Shape
from tests.benchmarks.gateway_load.load_driver import LoadDriver
from tests.benchmarks.load_plan import LoadPlan, LoadSeen, Prompts
from tests.benchmarks.server_process import ServerProcess

WARM_UP_SHARE: Final = 2
"""The warm-up round has this part of the requests."""
LOAD: Final = 0.3
"""Share of its core that a gateway uses while its latency is measured."""
_LATENCY_S: Final = 2.0

Measured = dict[str, tuple[float, str]]


class WrongAnswersError(Exception):
    """A contestant's answers were not what the engines sent; its cost means nothing."""


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


class CpuMeasurer:
    """Measures CPU time of one shape's requests.

    Args:
        shape: the load.
        servers: the contestants, by name.
        driver: the load client.
    """

    def __init__(self, shape: Shape, servers: Mapping[str, ServerProcess], driver: LoadDriver) -> None:
        self._shape = shape
        self._servers = servers
        self._driver = driver
        self._seed = 0

    def measure(self, name: str, turn: int) -> Measured:
        """Measure one contestant once, with prompts that nobody has sent; `turn` 0 warms up."""
        shape = self._shape if turn else self._shape.scaled(1 / WARM_UP_SHARE)
        server = self._servers[name]
        self._seed += 1
        plan = msgspec.structs.replace(shape.plan, port=server.port, seed=self._seed)
        before = cpu_seconds(server.pid)
        seen = run_checked(self._driver, plan, name)
        cpu_us = (cpu_seconds(server.pid) - before) * 1e6
        measured = {
            "cpu": (cpu_us / seen.answered, "us/request"),
            "rate": (seen.requests_per_s, "requests/s"),
            "p50": (seen.percentile_us(50), "us"),
            "p99": (seen.percentile_us(99), "us"),
        }
        if plan.chunks:
            measured["reads"] = (seen.reads / seen.chunks, "reads/chunk")
        return measured


class LatencyMeasurer:
    """Measures the latency that a gateway adds while it uses 30 % of its core.

    The warm-up round finds each contestant's rate for that. Each round asks the engine itself and then the
    gateway, at the same rate.

    Args:
        servers: the contestants, by name.
        engine_ports: a port of each contestant's engines.
        driver: the load client.
        share: how much of the usual load to run.

    Attributes:
        latency_us: by contestant, the quantiles 0, 0.5, … 100 % of its last round.
    """

    def __init__(
        self, servers: Mapping[str, ServerProcess], engine_ports: Mapping[str, int], driver: LoadDriver, share: float
    ) -> None:
        self.latency_us: dict[str, list[float]] = {}
        self._servers = servers
        self._engine_ports = engine_ports
        self._driver = driver
        self._calibrator = CpuMeasurer(WORDS_40.scaled(share), servers, driver)
        self._seconds = _LATENCY_S * share
        self._rates: dict[str, float] = {}
        self._seed = 10_000  # beyond the calibrator's, so that no prompt is sent twice

    def measure(self, name: str, turn: int) -> Measured:
        """Measure one contestant once; `turn` 0 warms up."""
        if not turn:
            # The first requests of a fresh process cost more than later ones.
            self._calibrator.measure(name, 1)
            self._rates[name] = LOAD * 1e6 / self._calibrator.measure(name, 1)["cpu"][0]
            return {}
        rate = self._rates[name]
        self._seed += 1
        requests = max(64, int(rate * self._seconds))
        plan = msgspec.structs.replace(
            WORDS_40.plan, requests=requests, connections=64, rate_per_s=rate, seed=self._seed
        )
        direct = run_checked(self._driver, msgspec.structs.replace(plan, port=self._engine_ports[name]), "direct")
        plan = msgspec.structs.replace(plan, port=self._servers[name].port)
        seen = run_checked(self._driver, plan, name)
        self.latency_us[name] = seen.latency_us
        return {
            "added_p50": (seen.percentile_us(50) - direct.percentile_us(50), "us"),
            "added_p99": (seen.percentile_us(99) - direct.percentile_us(99), "us"),
            "p50": (seen.percentile_us(50), "us"),
            "rate": (seen.requests_per_s, "requests/s"),
        }


def idle_shares(servers: Mapping[str, ServerProcess], settle_s: float, window_s: float) -> dict[str, float]:
    """Return the share of a core that each server uses while nobody asks it anything.

    Args:
        servers: all of them run at once.
        settle_s: seconds before the measurement.
        window_s: seconds that are measured.
    """
    time.sleep(settle_s)
    before = {name: cpu_seconds(server.pid) for name, server in servers.items()}
    started = time.monotonic()
    time.sleep(window_s)
    elapsed_s = time.monotonic() - started
    return {name: (cpu_seconds(server.pid) - before[name]) / elapsed_s for name, server in servers.items()}


def memory_curve(
    server: ServerProcess, driver: LoadDriver, requests: int, sample_every: int, progress: Callable[[int], None]
) -> list[tuple[int, int]]:
    """Send `requests` chats, one in four streamed, and return (requests so far, resident bytes) along the way."""
    curve = []
    for sent in range(0, requests, sample_every):
        streamed = sample_every // 4
        for count, chunks in ((sample_every - streamed, 0), (streamed, 8)):
            plan = LoadPlan(
                port=server.port,
                requests=count,
                connections=64,
                chunks=chunks,
                seed=sent + chunks,
                prompts=Prompts.CHATS,
            )
            run_checked(driver, plan, server.name)
        curve.append((sent + sample_every, rss_bytes(server.pid)))
        progress(sent + sample_every)
    return curve
