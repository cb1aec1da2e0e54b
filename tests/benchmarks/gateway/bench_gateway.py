"""What the gateway costs, beside the best Rust gateways, in one interleaved run: `make bench-gateway`.

Gateways run on one core; load client and mock engines on the other. See README.md in the folder above.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.cores import choose_cores
from tests.benchmarks.gateway.code_forms import copy_without_extensions, why_not_compiled
from tests.benchmarks.gateway.contestants import COMPILED, PEERS, Contestant, everybody
from tests.benchmarks.gateway.contestants import NAMES as CONTESTANTS
from tests.benchmarks.gateway.gateway_plot import plot_gateway
from tests.benchmarks.gateway.promises import cpu_bars, idle_bars, memory_bars
from tests.benchmarks.gateway.running import GatewayBench
from tests.benchmarks.gateway.shapes import CPU_SHAPES, QUICK
from tests.benchmarks.gateway.shapes import NAMES as SHAPES
from tests.benchmarks.gateway.tables import cpu_table, shape_table
from tests.benchmarks.peers import REQUIREMENTS, PeerMissingError
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.server_process import ROOT, unwind_on_sigterm

_QUIET_LOAD: Final = 1.0
"""Load average, before anything starts, above which other work on the machine shows in the figures."""


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)} among {', '.join(known)}")
        return names

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (CPU time: the lowest of them)")
    parser.add_argument("--policy", default="expected_ttft", help="our gateway's policy")
    parser.add_argument("--shapes", "--only", type=_names(SHAPES), help=f"of {','.join(SHAPES)}", metavar="A,B")
    parser.add_argument(
        "--contestants",
        type=_names(CONTESTANTS),
        default=list(CONTESTANTS),
        help=f"of {','.join(CONTESTANTS)}",
        metavar="A,B",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: short loads, no peers, bars are not judged")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    options = parser.parse_args()
    options.shapes = options.shapes or (QUICK if options.quick else SHAPES)
    if options.quick:
        options.rounds = 1
        options.contestants = [name for name in options.contestants if name not in PEERS]
    return options


def _as_json(bench: GatewayBench, skipped: str) -> dict[str, Any]:
    """Return every number."""
    described = {shape.name: shape.describes for shape in CPU_SHAPES}
    return {
        "rounds": bench.rounds,
        "contestants": {each.name: each.describes for each in bench.contestants},
        "compiled_skipped": skipped,
        "shapes": {
            name: {
                "describes": described.get(name, ""),
                "contestants": {who: {k: v.as_json() for k, v in row.items()} for who, row in figures.items()},
            }
            for name, figures in bench.figures.items()
        },
        "latency_quantiles_us": bench.latency_us,
        "idle_share_of_a_core": bench.idle,
        "memory": [{"requests": sent, "rss_bytes": rss} for sent, rss in bench.memory],
    }


def _report(bench: GatewayBench, console: Console) -> None:
    if any(shape.name in bench.figures for shape in CPU_SHAPES):
        console.print(cpu_table(bench.figures))
    if bench.idle:
        shares = ", ".join(f"{who} {100 * share:.2f}" for who, share in bench.idle.items())
        console.print(f"idle with 256 replicas, % of a core: {shares}", highlight=False)
    if bench.memory:
        sampled = ", ".join(f"{sent}: {rss / 2**20:.1f}" for sent, rss in bench.memory)
        console.print(f"memory, MiB after so many requests: {sampled}", highlight=False)


def _bars(bench: GatewayBench) -> list[Bar]:
    return [*cpu_bars(bench.figures), *idle_bars(bench.idle), *memory_bars(bench.memory)]


def _contestants(options: argparse.Namespace, interpreted: Path, *, compiled: bool) -> list[Contestant]:
    known = everybody(options.policy, ROOT, interpreted, compiled=compiled)
    return [each for each in known if each.name in options.contestants]


def main() -> int:
    """Run; return the exit code: 0 if every bar holds."""
    options = _options()
    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 180)
    busy = os.getloadavg()[0]
    if busy > _QUIET_LOAD and not options.quick:
        console.print(
            f"This machine is busy (load average {busy:.1f}): CPU times are too high; streams seem cheap, "
            "as a starved gateway passes chunks on together.",
            style="yellow",
            highlight=False,
        )
    skipped = why_not_compiled()
    if skipped and COMPILED in options.contestants:
        console.print(f"SKIPPED {COMPILED}: {skipped}", style="yellow", highlight=False)
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as folder:
        logs = Path(folder)
        contestants = _contestants(options, copy_without_extensions(ROOT, logs / "interpreted"), compiled=not skipped)
        with console.status("") as status:
            bench = GatewayBench(
                contestants,
                options.shapes,
                options.rounds,
                choose_cores(),
                logs,
                quick=options.quick,
                progress=status.update,
                found=lambda shape, figures: console.print(shape_table(shape, figures)),
            )
            try:
                bench.run()
            except PeerMissingError as error:
                console.print(f"bench-gateway: {error}", style="red")
                return 2
    _report(bench, console)
    bars = _bars(bench)
    peers = {peer: ", ".join(REQUIREMENTS[peer]) for peer in ("smg", "vllm-router")}
    path = write_result(
        "bench-gateway", _as_json(bench, skipped), bars, versions=our_versions() | peers, directory=options.results
    )
    plot = plot_gateway(bench, options.results / "bench-gateway.png")
    console.print(f"results: {path} and {plot.name}", highlight=False)
    short = report_bars(bars)
    return 0 if options.quick else short


if __name__ == "__main__":
    sys.exit(main())
