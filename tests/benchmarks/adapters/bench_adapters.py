"""Loads of LoRA adapters and time to first token, in virtual time: `make bench-adapters`.

32 adapters on four simulated replicas with four slots each: routing that knows which replica has which loaded, beside
routing by load alone. The dispatcher is the gateway's own, the engines are the simulated engine's own.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from cluster.spec.model_parts.sim_spec import SimSpec
from tests.benchmarks.adapters.adapter_fleet import AdapterFleet, Outcomes
from tests.benchmarks.adapters.skewed_load import SkewedLoad
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import RESULTS, our_versions, write_result

REPLICAS: Final = 4
SLOTS: Final = 4
OURS: Final = "expected_ttft"
BASELINE: Final = "least_load"
POLICIES: Final = ("round_robin", BASELINE, OURS)
LOADS: Final = {
    "zipf, 4 a second": SkewedLoad(requests_per_s=4.0),
    "zipf, 8 a second": SkewedLoad(requests_per_s=8.0),
    "zipf, others popular every 100 s": SkewedLoad(requests_per_s=8.0, changes_every_s=100.0),
    "all alike, 6 a second": SkewedLoad(skew=0.0, requests_per_s=6.0),
}
"""The loads; above 8 a second routing by load alone falls behind for good, which would say nothing."""
BARRED: Final = ("zipf, 4 a second", "zipf, 8 a second")
"""Those whose use is skewed and stays so."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each load, with requests of their own")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of each load, simulated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def _measured(load: SkewedLoad, seeds: int) -> dict[str, Outcomes]:
    """Return what came of a load by policy, all seeds together."""
    found = {policy: Outcomes() for policy in POLICIES}
    for seed in range(seeds):
        requests = load.requests(seed)
        for policy, so_far in found.items():
            fleet = AdapterFleet(policy, REPLICAS, SLOTS, load.names(), SimSpec(), seed)
            outcomes = fleet.run(requests)
            so_far.ttft_s += outcomes.ttft_s
            so_far.loads += outcomes.loads
            so_far.busiest = max(so_far.busiest, outcomes.busiest)
    return found


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"{REPLICAS} replicas, {SLOTS} slots each, 32 adapters", title_justify="left")
    for heading in ("load", "policy", "loads a request", "TTFT mean, s", "p90, s", "busiest over mean"):
        table.add_column(heading, justify="left" if heading in {"load", "policy"} else "right")
    bars: list[Bar] = []
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for name, load in LOADS.items():
        shaped = SkewedLoad(load.adapters, load.skew, load.requests_per_s, options.seconds, load.changes_every_s)
        found = _measured(shaped, options.seeds)
        for policy, outcomes in found.items():
            figures.setdefault(name, {})[policy] = {
                "requests": len(outcomes.ttft_s),
                "loads": outcomes.loads,
                "ttft_mean_s": outcomes.mean_ttft_s,
                "ttft_p90_s": outcomes.p90_ttft_s,
                "busiest_over_mean": outcomes.busiest,
            }
            table.add_row(
                name if policy == POLICIES[0] else "",
                policy,
                f"{outcomes.loads / len(outcomes.ttft_s):.3f}",
                f"{outcomes.mean_ttft_s:.3f}",
                f"{outcomes.p90_ttft_s:.3f}",
                f"{outcomes.busiest:.2f}",
            )
        ours, baseline = found[OURS], found[BASELINE]
        if name in BARRED:
            slug = f"{load.requests_per_s:g}_a_second"
            bars += [
                Bar(f"loads_vs_least_load_{slug}", ours.loads / baseline.loads, "<=", 0.35),
                Bar(f"mean_ttft_vs_least_load_{slug}", ours.mean_ttft_s / baseline.mean_ttft_s, "<=", 0.7),
            ]
    console.print(table)
    path = write_result("bench-adapters", {"loads": figures}, bars, versions=our_versions(), directory=options.results)
    console.print(f"results: {path}", highlight=False)
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
