"""Who is served in time, and for how many GPU-hours: the autoscaler in virtual time: `make bench-autoscaling`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from tests.benchmarks.autoscaling_cases import loads, sized
from tests.benchmarks.autoscaling_contest import OURS, SERVE, bars, contest, figures, reaction_s, table
from tests.benchmarks.autoscaling_plot import plot_autoscaling
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.data_files import MOONCAKE_TRACE


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="parts of the loads, no day: a smoke test")
    parser.add_argument("--loads", default="", help="only these, by name, with commas between; none: all")
    parser.add_argument("--seed", type=int, default=1, help="draws the loads")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short, 2 for a load there isn't."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 120)
    found = loads(options.seed, short=options.short)
    if "mooncake" not in found:
        console.print(f"mooncake skipped: {MOONCAKE_TRACE.why_skipped}", style="yellow")
    wanted = options.loads.split(",") if options.loads else list(found)
    if unknown := [name for name in wanted if name not in found]:
        console.print(
            f"bench-autoscaling: no load is called {unknown[0]!r}; there are: {', '.join(found)}", style="red"
        )
        return 2
    outcomes = []
    reached: list[Bar] = []
    for name in wanted:
        case = sized(name, found[name])
        outcome = contest(case, lambda text: console.print(text, style="dim", highlight=False), short=options.short)
        outcomes.append(outcome)
        console.print(table(outcome))
        if name == "step":
            for who in (OURS, SERVE):
                after_s = reaction_s(outcome.results[who], case.first_replicas)
                console.print(f"{who}: target raised {after_s:.0f} s after the step", highlight=False)
        reached += bars(outcome)
    result = {"seed": options.seed, "loads": {outcome.case.name: figures(outcome) for outcome in outcomes}}
    path = write_result("bench-autoscaling", result, reached, versions=our_versions(), directory=options.results)
    console.print(f"results: {path}", highlight=False)
    console.print(f"plot: {plot_autoscaling(outcomes, path.with_suffix('.png'))}", highlight=False)
    return report_bars(reached)


if __name__ == "__main__":
    sys.exit(main())
