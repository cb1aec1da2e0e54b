"""Planning and placing: `make bench-placement`.

Placement time at 10, 100 and 1 000 nodes, planner time for each model, and the cost model's error against published
MLPerf rows: CPU time of one process. On light Ray nodes of this machine, wall time from a killed node to the first
token of the rebuilt gang. On three network-namespace hosts where this machine can make them, wall time of a launch by
`ray up` and of a gang's move after a cut link. Needs no GPU.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.launch_figures import LaunchTimes, launch_times, medians
from tests.benchmarks.placement_figures import (
    PlacementTime,
    placement_times,
    planner_times,
    published_errors,
    server_errors,
)
from tests.benchmarks.rebuilt_gang import rebuilt_gang
from tests.benchmarks.result_file import RESULTS, our_versions, write_result

PLACEMENT_BOUND_S = 1.0
MEDIAN_BOUND, LARGEST_BOUND = 0.15, 0.35
LAUNCHES = 2
LAUNCH_STEPS = {
    "to_sim_s": ("rackserve up", "first token of the sim gang"),
    "to_vllm_s": ("rackserve up", "first token of SmolLM2 on vLLM"),
    "to_ready_s": ("rackserve up", "READY"),
    "moved_s": ("a rack's link cut", "first token of the rebuilt gang"),
    "down_s": ("rackserve down", "its end"),
}


def main() -> int:
    """Run; return the exit code: 0 if every bar holds."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 140)
    runs = 1 if options.quick else 5
    placements, planners = placement_times(runs), planner_times(1 if options.quick else 3)
    published, server = published_errors(), server_errors()
    console.print(_placement_table(placements))
    table = Table("model", "CPU s", "options", "layout", "GPUs", title="planning on GB300 NVL72", title_justify="left")
    for name, each in planners.items():
        table.add_row(name, f"{each['cpu_s']:.3f}", str(each["options"]), str(each["layout"]), str(each["gpus"]))
    console.print(table)
    table = Table("row", "published", "predicted", "error", title="tokens/s per GPU, MLPerf v5.1", title_justify="left")
    for row in [*published, *server]:
        figures = (row["published_tokens_per_s_per_gpu"], row["predicted_tokens_per_s_per_gpu"])
        table.add_row(row["row"], *(f"{figure:,.1f}" for figure in figures), f"{row['error']:+.0%}")
    console.print(table)
    rebuilt = None if options.quick else rebuilt_gang()
    if rebuilt is not None:
        shown = {key: f"{seconds:.1f} s" for key, seconds in rebuilt.items()}
        console.print(
            f"a gang of two nodes: first token {shown['first_token_s']} after it was deployed", highlight=False
        )
        console.print(
            f"a node killed: out of the directory after {shown['left_directory_s']}, "
            f"first token of the new gang after {shown['rebuilt_s']}",
            highlight=False,
        )
    launches = "left out of a quick run" if options.quick else launch_times(options.launches)
    _print_launches(launches, console)
    bars = _bars(placements, published)
    figures_json = {
        "placement": [{key: getattr(each, key) for key in each.__slots__} for each in placements],
        "planner": planners,
        "mlperf_offline": published,
        "mlperf_server": server,
        "launches": launches if isinstance(launches, str) else [asdict(each) for each in launches],
        "rebuilt_gang": rebuilt,
    }
    path = write_result("bench-placement", figures_json, bars, versions=our_versions(), directory=options.results)
    console.print(f"results: {path}", highlight=False)
    short = report_bars(bars)
    return 0 if options.quick else short


def _print_launches(launches: Sequence[LaunchTimes] | str, console: Console) -> None:
    if isinstance(launches, str):
        console.print(f"launching: {launches}")
        return
    table = Table("from", "to", "median s", "each", title="launching on 3 hosts", title_justify="left")
    middle = medians(launches)
    for name, (start, end) in LAUNCH_STEPS.items():
        each = ", ".join(f"{getattr(times, name):.1f}" for times in launches)
        table.add_row(start, end, f"{middle[name]:.1f}", each)
    console.print(table)


def _bars(placements: list[PlacementTime], predicted: list[dict[str, object]]) -> list[Bar]:
    bars = [
        Bar(f"placement_1000_nodes_200_gangs_{each.domains}_cpu_s", each.cpu_s, "<=", PLACEMENT_BOUND_S)
        for each in placements
        if each.nodes == 1000
    ]
    errors = [abs(float(str(row["error"]))) for row in predicted]
    median = Bar("mlperf_offline_median_error", statistics.median(errors), "<=", MEDIAN_BOUND)
    return [*bars, median, Bar("mlperf_offline_largest_error", max(errors), "<=", LARGEST_BOUND)]


def _placement_table(placements: list[PlacementTime]) -> Table:
    table = Table("domains", "nodes", "gangs", "placed", "CPU ms", title="placing", title_justify="left")
    for each in placements:
        counts = (each.nodes, each.gangs, each.placed)
        table.add_row(each.domains, *map(str, counts), f"{each.cpu_s * 1e3:.1f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-placement", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of each, without Ray; bars are not enforced")
    parser.add_argument("--launches", type=int, default=LAUNCHES, help="how often to launch a cluster")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
