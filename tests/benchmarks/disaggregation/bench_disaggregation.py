"""Goodput of prefill and decode on different replicas, decided in several ways: `make bench-disaggregation`."""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from rich.console import Console

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.disaggregation.contest import Contest, bars, contest, figures, table
from tests.benchmarks.disaggregation.fleets import COST, REPLICAS
from tests.benchmarks.disaggregation.goodput_plot import plot_goodput
from tests.benchmarks.disaggregation.workloads import NAMES, rehearsal, workload
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.data_files import MOONCAKE_TRACE


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first requests of each workload: a smoke test")
    parser.add_argument("--workloads", default="", help="only these, by name, with commas between; none: all")
    parser.add_argument("--seed", type=int, default=1, help="draws the workloads")
    parser.add_argument("--workers", type=int, default=2, help="processes that share the workloads")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(name: str, seed: int, *, quick: bool) -> Contest | None:
    """Return what came of a workload; None: its data file is not here."""
    load, rehearsed = workload(name, seed, short=quick), rehearsal(name, seed, short=quick)
    return contest(load, rehearsed, _say, seed) if load is not None and rehearsed is not None else None


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short, 2 for a workload there isn't."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 140)
    wanted = options.workloads.split(",") if options.workloads else list(NAMES)
    if unknown := [name for name in wanted if name not in NAMES]:
        console.print(
            f"bench-disaggregation: no workload is called {unknown[0]!r}; there are: {', '.join(NAMES)}", style="red"
        )
        return 2
    outcomes: list[Contest] = []
    versions = our_versions()
    with ProcessPoolExecutor(max(1, options.workers)) as processes:
        for outcome in processes.map(partial(run, seed=options.seed, quick=options.quick), wanted):
            if outcome is None:
                console.print(f"mooncake skipped: {MOONCAKE_TRACE.why_skipped}", style="yellow")
                continue
            outcomes.append(outcome)
            path = _written(outcomes, options, versions)  # each time, so that a run that is ended leaves what it has
    if not outcomes:
        return 0
    console.print(table(outcomes))
    console.print(f"results: {path}", highlight=False)
    console.print(f"plot: {plot_goodput(outcomes, path.with_suffix('.png'))}", highlight=False)
    return report_bars([bar for outcome in outcomes for bar in bars(outcome)])


def _written(outcomes: Sequence[Contest], options: argparse.Namespace, versions: dict[str, str]) -> Path:
    """Write what came of the workloads so far; return the file's path."""
    result = {
        "seed": options.seed,
        "fleet": {
            "model": COST.shape.name,
            "precision": COST.shape.weight_precision.name,
            "hardware": COST.hardware.name,
            "replicas": REPLICAS,
            "gpus": REPLICAS * COST.layout.gpus,
        },
        "workloads": {outcome.load.name: figures(outcome) for outcome in outcomes},
    }
    reached: list[Bar] = [bar for outcome in outcomes for bar in bars(outcome)]
    return write_result("bench-disaggregation", result, reached, versions=versions, directory=options.results)


if __name__ == "__main__":
    sys.exit(main())
