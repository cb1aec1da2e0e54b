"""What the gateway costs, beside vllm-router, in one interleaved run: `make bench-gateway`.

Gateways run on one core; load client and mock engines on the other. See README.md in this folder.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.contestants import CACHE_AWARE, DIRECT, LOAD_ONLY, OURS, Contestant, contestants
from tests.benchmarks.cores import Cores, choose_cores, pinned
from tests.benchmarks.gateway_plot import plot_gateway
from tests.benchmarks.gateway_scenarios import LATENCY, SCENARIOS, Measurer, Scenario, memory_curve
from tests.benchmarks.load_driver import LoadDriver
from tests.benchmarks.mock_engine import PromptApi
from tests.benchmarks.peers import REQUIREMENTS, PeerMissingError, peer_command
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.rounds import Figures, interleaved
from tests.benchmarks.server_process import ServerProcess, free_port, unwind_on_sigterm

_ENGINES = 2
_QUICK_SHARE = 0.05


@dataclass(slots=True)
class Bench:
    """One run and what it has found so far."""

    options: argparse.Namespace
    cores: Cores
    log_dir: Path
    console: Console
    contestants: list[Contestant]
    figures: dict[str, Figures] = field(default_factory=dict)
    latency_us: dict[str, list[float]] = field(default_factory=dict)
    memory: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> None:
        """Measure everything."""
        share = _QUICK_SHARE if self.options.quick else 1.0
        with LoadDriver(self.cores.load) as driver:
            for scenario in SCENARIOS:
                self._run_scenario(scenario.scaled(share), driver)
            self._run_memory(driver)

    def _run_scenario(self, scenario: Scenario, driver: LoadDriver) -> None:
        """Measure one scenario, on fresh processes: what one leaves behind (a grown prefix tree) no other pays for."""
        with ExitStack() as stack:
            engines = self._start_engines(stack, scenario.engine_arguments)
            servers = {}
            for contestant in self.contestants:
                server = contestant.start(engines, self.cores, self.log_dir)
                stack.callback(server.stop)
                servers[contestant.name] = server
            for server in servers.values():
                server.wait_ready()
            measurer = Measurer(scenario, servers, driver)
            names = [name for name in servers if scenario.direct or name != DIRECT]
            with self.console.status(f"{scenario.name}: {scenario.describes}"):
                self.figures[scenario.name] = interleaved(names, self.options.rounds, measurer.measure)
        if scenario.name == LATENCY.name:
            self.latency_us = measurer.latency_us
        self.console.print(_table(scenario, self.figures[scenario.name]))

    def _run_memory(self, driver: LoadDriver) -> None:
        requests, every = (6_000, 1_000) if self.options.quick else (200_000, 10_000)
        ours = next(contestant for contestant in self.contestants if contestant.name == OURS)
        with ExitStack() as stack, self.console.status("memory") as status:
            engines = self._start_engines(stack, ())
            server = stack.enter_context(ours.start(engines, self.cores, self.log_dir))
            self.memory = memory_curve(
                server, driver, requests, every, lambda sent: status.update(f"memory: {sent} of {requests} requests")
            )
        sampled = ", ".join(f"{sent}: {rss / 2**20:.1f}" for sent, rss in self.memory)
        self.console.print(f"memory of {OURS}, MiB after so many requests: {sampled}", highlight=False)

    def _start_engines(self, stack: ExitStack, arguments: Sequence[str]) -> list[ServerProcess]:
        engines = []
        for i in range(_ENGINES):
            port = free_port()
            command = [sys.executable, "-m", "tests.benchmarks.mock_engine", "--port", str(port), *arguments]
            command += ["--prompt-api", self.options.prompt_api]
            engine = ServerProcess(f"engine-{i}", pinned(command, self.cores.load), port=port, log_dir=self.log_dir)
            engines.append(stack.enter_context(engine))
        return engines

    def memory_growth(self) -> float:
        """Return the growth of resident memory after the first tenth, as a share."""
        warm = self.memory[max(0, len(self.memory) // 10 - 1)][1]
        return self.memory[-1][1] / warm - 1

    def bars(self) -> list[Bar]:
        """Return the issue's bars; those against vllm-router only where it ran."""
        growth = Bar("gateway_rss_growth", self.memory_growth(), "<=", 0.05)
        if not any(contestant.name == CACHE_AWARE for contestant in self.contestants):
            return [growth]
        bars = []
        for who, suffix in ((OURS, ""), (LOAD_ONLY, "_least_load")):
            ratios = {name: _cpu_ratio(figures, who) for name, figures in self.figures.items()}
            bars += [
                Bar(f"request_cpu_ratio_40_words{suffix}", ratios["request_40_words"], "<=", 0.5, aim=0.3),
                Bar(f"request_cpu_ratio_2000_words{suffix}", ratios["request_2000_words"], "<=", 0.5, aim=0.3),
                Bar(f"chunk_cpu_ratio{suffix}", ratios["stream_saturated"], "<=", 0.6, aim=0.35),
            ]
        return [*bars, growth]

    def as_json(self) -> dict[str, Any]:
        """Return every number."""
        scenarios = {scenario.name: scenario for scenario in SCENARIOS}
        return {
            "engines": {"count": _ENGINES, "prompt_api": self.options.prompt_api},
            "rounds": self.options.rounds,
            "policy": self.options.policy,
            "scenarios": {
                name: {
                    "describes": scenarios[name].describes,
                    "contestants": {who: {k: v.as_json() for k, v in row.items()} for who, row in figures.items()},
                }
                for name, figures in self.figures.items()
            },
            "latency_quantiles_us": self.latency_us,
            "memory": [{"requests": sent, "rss_bytes": rss} for sent, rss in self.memory],
        }


def _cpu_ratio(figures: Figures, ours: str) -> float:
    """Return our CPU time over that of vllm-router cache_aware."""
    return figures[ours]["cpu"].median / figures[CACHE_AWARE]["cpu"].median


def _table(scenario: Scenario, figures: Figures) -> Table:
    """Return one scenario's medians; latency also as what is added over going direct."""
    table = Table(title=f"{scenario.name}: {scenario.describes}", title_justify="left", title_style="bold")
    table.add_column("")
    first = next(iter(figures.values()))
    for name, figure in first.items():
        table.add_column(f"{name}\n{figure.unit}", justify="right")
    baseline = figures.get(DIRECT) if scenario.name == LATENCY.name else None
    if baseline:
        table.add_column("added p50\nus", justify="right")
        table.add_column("added p99\nus", justify="right")
    peer = figures.get(CACHE_AWARE)
    if peer:
        table.add_column("cpu vs\ncache_aware", justify="right")
    for who, row in figures.items():
        cells = [f"{figure.median:,.2f}" if figure.median < 10 else f"{figure.median:,.0f}" for figure in row.values()]
        if baseline:
            cells += [f"{row[p].median - baseline[p].median:,.0f}" for p in ("p50", "p99")]
        if peer:
            cells.append("" if who == DIRECT else f"{row['cpu'].median / peer['cpu'].median:.2f} x")
        table.add_row(who, *cells)
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; the median of them is reported")
    parser.add_argument("--policy", default="expected_ttft", help="our gateway's policy")
    parser.add_argument(
        "--prompt-api",
        type=PromptApi,
        choices=list(PromptApi),
        default=PromptApi.TOKENIZE,
        help="which of vLLM's tokenizing endpoints the engines have; vllm-router cache_aware asks them",
    )
    parser.add_argument("--quick", action="store_true", help="one short round without peers; bars are not judged")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    return options


def main() -> int:
    """Run; return the exit code: 0 if every bar holds."""
    options = _options()
    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 140)
    with_peers = not options.quick
    if with_peers:
        try:
            peer_command("vllm-router", "vllm-router")
        except PeerMissingError as error:
            console.print(f"bench-gateway: {error}", style="red")
            return 2
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as logs:
        everybody = contestants(options.policy, with_peers=with_peers)
        bench = Bench(options, choose_cores(), Path(logs), console, everybody)
        bench.run()
    bars = bench.bars()
    versions = our_versions() | ({"peers": ", ".join(REQUIREMENTS["vllm-router"])} if with_peers else {})
    path = write_result("bench-gateway", bench.as_json(), bars, versions=versions, directory=options.results)
    plot = plot_gateway(bench.latency_us, bench.memory, options.results / "bench-gateway.png")
    console.print(f"results: {path} and {plot.name}", highlight=False)
    short = report_bars(bars)
    return 0 if options.quick else short


if __name__ == "__main__":
    sys.exit(main())
