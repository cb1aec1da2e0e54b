"""Requests within a service level objective of both latencies, and GPU-hours, in virtual time: `make bench-slo`.

The dispatcher and the autoscaler are the live ones, the replicas are the simulated engine's. Told of the objective,
ours bounds each replica's batch and scales on the share in time; today's rule knows neither. Fixed fleets have their
batches bounded as ours are: that of the peak, as `bench-autoscaling` has it, and the smallest that has as many in time
as the bar asks for, which one knows only when the load is over.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.targets import AutoscalingTargets
from deployments.simulator.autoscaled_fleet import FleetResult, run_fleet
from tests.benchmarks.autoscaling_cases import COLD_START_S
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.slo.knows_bursts import fewest_hours
from tests.benchmarks.slo.slo_cases import (
    BAR_SHARE,
    KEPT_SETTINGS,
    LIMITS,
    SETTINGS,
    SHARE,
    TARGETS,
    SloCase,
    in_time,
    loads,
    sized,
)

OURS: Final = "rackserve"
TODAY: Final = "without_slo"
PEAK: Final = "fixed_peak"
SMALLEST: Final = "fixed_smallest"
GPU_HOURS_BAR: Final = 0.65
KNOWS: Final = "knows_bursts"
MOST: Final = 2
"""The autoscalers may go to so many times the fleet of the peak."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="an hour of bursts: a smoke test")
    parser.add_argument("--loads", default="", help="only these, by name, with commas between; none: all")
    parser.add_argument("--seed", type=int, default=1, help="draws the loads")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def contest(case: SloCase, seed: int) -> dict[str, FleetResult]:
    """Return what came of a load, drawn with a seed, by contestant."""
    targets = AutoscalingTargets(
        max_replicas=MOST * case.peak_replicas,
        target_queue_s=2.0,
        longest_wait_s=LIMITS.max_wait_s,
        first_cold_start_s=COLD_START_S,
        first_work_per_s=case.work_per_s,
    )
    first = max(1, case.peak_replicas // 3)
    return {
        PEAK: case.peak,
        SMALLEST: case.smallest,
        OURS: run_fleet(
            case.requests, Autoscaler(replace(targets, slo_share=SHARE)), replace(KEPT_SETTINGS, first_replicas=first)
        ),
        TODAY: run_fleet(
            case.requests,
            Autoscaler(replace(targets, first_work_per_s=0.0)),
            replace(SETTINGS, first_replicas=first),
        ),
        **({KNOWS: fewest_hours(case, seed)} if case.name == "bursts" else {}),
    }


def figures(case: SloCase, results: Mapping[str, FleetResult]) -> dict[str, Any]:
    """Return a load's figures as JSON values."""
    return {
        "requests": len(case.requests),
        "replica_per_s": case.replica_per_s,
        "peak_replicas": case.peak_replicas,
        "smallest_replicas": case.smallest_replicas,
        "contestants": {
            name: {
                "in_time": in_time(result),
                "ttft_in_time": result.slo_share(TARGETS.ttft_s),
                "tpot_in_time": sum(token_s <= TARGETS.tpot_s for _, token_s in result.latencies_s)
                / len(result.latencies_s),
                "gpu_hours": result.gpu_hours,
                "gpu_hours_over_peak": result.gpu_hours / case.peak.gpu_hours,
                "refused": result.refused,
                "most_replicas": max((moment.ready for moment in result.timeline), default=0),
            }
            for name, result in results.items()
        },
    }


def bars(name: str, told: Mapping[str, Any]) -> list[Bar]:
    """Return what a load promises."""
    ours = told["contestants"][OURS]
    return [
        Bar(f"slo_{name}_in_time", ours["in_time"], ">=", BAR_SHARE),
        Bar(f"slo_{name}_gpu_hours_of_peak", ours["gpu_hours_over_peak"], "<=", GPU_HOURS_BAR),
    ]


def _table(name: str, told: Mapping[str, Any]) -> Table:
    aim = f"first token within {TARGETS.ttft_s:g} s and {TARGETS.tpot_s * 1e3:g} ms a token"
    shown = Table(title=f"{name}: {told['requests']} requests, {aim}", title_justify="left")
    shown.add_column("fleet")
    for column in ("in time", "first token", "tokens", "GPU-hours", "of the peak's", "refused", "most replicas"):
        shown.add_column(column, justify="right")
    for who, row in told["contestants"].items():
        shown.add_row(
            who,
            f"{row['in_time']:.4f}",
            f"{row['ttft_in_time']:.4f}",
            f"{row['tpot_in_time']:.4f}",
            f"{row['gpu_hours']:.1f}",
            f"{row['gpu_hours_over_peak']:.3f}",
            str(sum(row["refused"].values())),
            str(row["most_replicas"]),
        )
    return shown


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short, 2 for a load there isn't."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 120)
    found = loads(options.seed, short=options.short)
    wanted = options.loads.split(",") if options.loads else list(found)
    if unknown := [name for name in wanted if name not in found]:
        console.print(f"bench-slo: no load is called {unknown[0]!r}; there are: {', '.join(found)}", style="red")
        return 2
    told: dict[str, Any] = {}
    reached: list[Bar] = []
    for name in wanted:
        case = sized(name, found[name], lambda text: console.print(text, style="dim", highlight=False))
        told[name] = figures(case, contest(case, options.seed))
        console.print(_table(name, told[name]))
        reached += bars(name, told[name])
    path = write_result(
        "bench-slo", {"seed": options.seed, "loads": told}, reached, versions=our_versions(), directory=options.results
    )
    console.print(f"results: {path}", highlight=False)
    return report_bars(reached)


if __name__ == "__main__":
    sys.exit(main())
