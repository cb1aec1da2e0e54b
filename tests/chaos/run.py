"""`make chaos`: faults of every kind under traffic, and what became of each request.

A cluster without Ray on this machine: two gateways before four simulated engines, each engine behind a link of ours.
Three lanes of faults strike side by side: one on each pair of engines and their links, one on gateways, disk and clock.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import our_versions, write_result
from tests.chaos.faults import Fault, Lanes
from tests.chaos.history import Asked, Verdict, judged
from tests.chaos.prompts import answered_questions
from tests.chaos.standalone_cluster import StandaloneCluster
from tests.chaos.standalone_faults import SILENCING, StandaloneFaults
from tests.chaos.traffic import Traffic

CLIENTS: Final = 16
TOKENS: Final = (10, 40, 80)
"""Lengths of answers; at 25 tokens a second the longest takes three seconds and more."""
SETTLES_S: Final = 2.0
"""Seconds after the last request within which nothing of any is left."""
MOST_FILES: Final = 48
"""Files that a gateway may have open more than before: connections to engines that are kept for the next requests."""


@dataclass(slots=True)
class Seen:
    """What a run showed.

    Attributes:
        faults: that were done.
        verdict: of the history.
        settled_s: seconds from the last request's end until gateways and engines had nothing of any request.
        held: what they still had `SETTLES_S` after the last request.
        more_files: most files that a gateway had open then, beyond what gateways had before the first request.
        left_over: processes and ports after the end.
        refusals: what engines refused of what gateways sent.
        kinds_missing: kinds of faults that this machine does not allow.
    """

    faults: list[Fault] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: judged(()))
    settled_s: float = 0.0
    held: dict[str, float] = field(default_factory=dict)
    more_files: int = 0
    left_over: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


async def run(folder: Path, seed: int, *, faults: int, seconds: float) -> Seen:
    """Run until so many faults were done or so many seconds are over.

    Args:
        folder: for logs and records.
        seed: draws faults, prompts and who asks whom.
        faults: enough of them.
        seconds: at most.
    """
    seen = Seen()
    questions = await answered_questions("m", seed, TOKENS)
    async with StandaloneCluster(folder) as cluster:
        before = max(cluster.open_files())
        traffic = Traffic(cluster.gateways, questions, CLIENTS, seed)
        lanes, kinds = Lanes(SILENCING), StandaloneFaults(cluster)
        ends_s = time.monotonic() + seconds

        def is_over() -> bool:
            return len(lanes.done) >= faults or time.monotonic() >= ends_s

        try:
            async with asyncio.TaskGroup() as group:
                for number, each in enumerate(
                    (kinds.of_engines([0, 1]), kinds.of_engines([2, 3]), kinds.of_gateways())
                ):
                    group.create_task(lanes.strike(each, Random(f"{seed} lane {number}"), is_over))
        finally:
            await traffic.stop()
        seen.settled_s, seen.held = await _settled(cluster)
        seen.more_files = max(cluster.open_files()) - before
        seen.faults = lanes.done
        seen.refusals = [refusal for link in cluster.links for refusal in link.refusals]
        seen.verdict = judged(traffic.history, cluster.killed)
    seen.left_over = cluster.left_over()
    return seen


async def _settled(cluster: StandaloneCluster) -> tuple[float, dict[str, float]]:
    """Wait until nothing of any request is left, or the time for it is over; return how long, and what is left."""
    began_s = time.monotonic()
    while True:
        held = dict(await cluster.engines_hold())
        rows = [row for state in await cluster.states() for row in state["models"]["m"]["replicas"]]
        held["gateways' requests in flight"] = float(sum(row["in_flight"] for row in rows))
        took_s = time.monotonic() - began_s
        if not any(held.values()) or took_s > SETTLES_S:
            return took_s, {name: value for name, value in held.items() if value}
        await asyncio.sleep(0.05)


def bars(seen: Seen, least_faults: int, longest_stall_s: float = 5.0) -> list[Bar]:
    """Return what chaos must leave as it is."""
    return [
        Bar("chaos_faults", float(len(seen.faults)), ">=", float(least_faults)),
        Bar("chaos_requests_failed", float(seen.verdict.failed), "<=", 0.0),
        Bar("chaos_answers_wrong", float(seen.verdict.wrong), "<=", 0.0),
        Bar("chaos_requests_without_an_end", float(seen.verdict.open), "<=", 0.0),
        Bar("chaos_longest_stall_s", seen.verdict.longest_stall_s, "<=", longest_stall_s),
        Bar("chaos_held_2_s_after", float(len(seen.held)), "<=", 0.0),
        Bar("chaos_files_more", float(seen.more_files), "<=", float(MOST_FILES)),
        Bar("chaos_left_over", float(len(seen.left_over)), "<=", 0.0),
    ]


def figures(seen: Seen) -> Mapping[str, Any]:
    """Return the figures beside the bars."""
    return {
        "faults_by_kind": dict(sorted(Counter(fault.kind for fault in seen.faults).items())),
        "requests": seen.verdict.requests,
        "ends": dict(seen.verdict.ends),
        "lost_with_a_killed_gateway": seen.verdict.lost,
        "settled_s": seen.settled_s,
        "held": seen.held,
        "worst": list(seen.verdict.worst),
        "left_over": seen.left_over,
        "refusals": seen.refusals,
        "stalls": [_with_faults(row, seen.faults) for row in seen.verdict.stalls],
    }


def _with_faults(row: Asked, faults: Sequence[Fault]) -> str:
    """Return a request that stood still, with the faults that it met: seconds count from its start."""
    met = [
        f"{fault.kind} {fault.what} {fault.began_s - row.began_s:+.1f} to {fault.ended_s - row.began_s:+.1f}"
        for fault in faults
        if fault.began_s < row.ended_s and fault.ended_s > row.began_s
    ]
    return f"{row.gateway}, {row.ended_s - row.began_s:.1f} s, stood still {row.stall_s:.2f} s: {'; '.join(met)}"


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="faults after which it ends")
    parser.add_argument("--seconds", type=float, default=1800.0, help="seconds after which it ends")
    parser.add_argument("--seed", type=int, default=1, help="draws faults and requests")
    parser.add_argument("--logs", type=Path, help="where logs of the processes stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = options.logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        began_s = time.monotonic()
        seen = asyncio.run(run(folder, options.seed, faults=options.faults, seconds=options.seconds))
    shown = {"seed": options.seed, "seconds": time.monotonic() - began_s, **figures(seen)}
    for name, value in shown.items():
        print(f"{name}: {value}")  # noqa: T201 - the command's product
    found = bars(seen, options.faults)
    write_result("chaos", shown, found, versions=our_versions())
    return report_bars(found)


if __name__ == "__main__":
    sys.exit(main())
