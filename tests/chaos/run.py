"""`make chaos`: faults of every kind under traffic, and what became of each request.

Two clusters on this machine, one after the other. Without Ray: two gateways before four simulated engines, each engine
behind a link of ours; three lanes strike side by side, one on each pair of engines and their links, one on gateways,
disk and clock. On Ray: two gateways, replicas with adapters, and pairs of prefill and decode; a lane on each model's
replicas, one on gateways, the directory, the scaling actor and Serve's controller.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.result_file import our_versions, write_result
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.chaos.faults import Fault, Lanes, Strike
from tests.chaos.history import KEPT, Asked, Killed, Verdict, judged
from tests.chaos.prompts import Question, answered_questions
from tests.chaos.standalone_cluster import StandaloneCluster
from tests.chaos.standalone_faults import DEADLY, SILENCING, StandaloneFaults
from tests.chaos.traffic import Traffic

CLIENTS: Final = 16
TOKENS: Final = (10, 40, 80)
"""Lengths of answers; at 25 tokens a second the longest takes three seconds and more."""
SETTLES_S: Final = 2.0
"""Seconds after the last request within which nothing of any is left, but for prompts that are kept."""
LEASE_S: Final = 30.0
"""Seconds for which a replica keeps a prompt that nobody fetches, as its gateway was killed, say: vLLM's lease."""
MOST_FILES: Final = 48
"""Files that a gateway may have open more than before: connections to engines that are kept for the next requests."""
ON_RAY: Final = 0.2
"""Faults on Ray for each one without."""


class Cluster(Protocol):
    """What faults and traffic are for; see `StandaloneCluster` and `RayCluster`.

    Attributes:
        gateways: name → host and port, of those that accept connections.
        killed: gateways that were killed at once.
    """

    gateways: dict[str, tuple[str, int]]
    killed: list[Killed]

    async def held(self) -> dict[str, float]:
        """Return what gateways and engines have of requests: how many are under way, and parts of KV caches."""

    def open_files(self) -> list[int]:
        """Return how many files and connections each gateway has open."""

    def refusals(self) -> list[str]:
        """Return what engines refused of what gateways sent."""

    async def way_of(self, request_id: str) -> str:
        """Return for people which replicas a request was given to, and when; "": no gateway remembers it."""


@dataclass(slots=True)
class Seen:
    """What a run showed.

    Attributes:
        faults: that were done.
        verdict: of the history.
        settled_s: seconds from the last request's end until gateways and engines had nothing of any request.
        held: what they still had `SETTLES_S` after the last request, and prompts that were kept beyond their lease.
        more_files: most files that a gateway had open then, beyond what gateways had before the first request.
        left_over: processes and ports after the end.
        refusals: what engines refused of what gateways sent.
        own_longest_s: longest time that the measuring process stood still; it is nobody's stall.
    """

    faults: list[Fault] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: judged(()))
    settled_s: float = 0.0
    held: dict[str, float] = field(default_factory=dict)
    more_files: int = 0
    left_over: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    own_longest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do.

    Attributes:
        seed: draws faults, prompts and who asks whom.
        faults: enough of them.
        seconds: at most, from the first fault to the last one's beginning.
    """

    seed: int
    faults: int
    seconds: float


async def run(folder: Path, plan: Plan) -> Seen:
    """Run on a cluster without Ray.

    Args:
        folder: for logs and records.
        plan: what to do.
    """
    questions = await answered_questions("m", plan.seed, TOKENS)
    async with StandaloneCluster(folder) as cluster:
        kinds = StandaloneFaults(cluster)
        lanes = kinds.of_engines([0, 1]), kinds.of_engines([2, 3]), kinds.of_gateways()
        seen = await _struck(cluster, plan, questions, lanes, SILENCING, DEADLY)
    seen.left_over = cluster.left_over()
    return seen


async def run_on_ray(plan: Plan) -> Seen:
    """Run on a cluster on Ray."""
    from tests.chaos import ray_cluster, ray_faults  # noqa: PLC0415 - Ray takes seconds

    questions = await answered_questions("m", plan.seed, TOKENS, *ray_cluster.ADAPTERS)
    questions += await answered_questions("split", plan.seed, TOKENS)
    async with ray_cluster.RayCluster() as cluster:
        kinds = ray_faults.RayFaults(cluster)
        lanes = kinds.of_replicas("m"), kinds.of_replicas("split"), kinds.of_the_rest()
        seen = await _struck(cluster, plan, questions, lanes, ray_faults.SILENCING, ray_faults.DEADLY)
    seen.left_over = cluster.left_over()
    return seen


async def _struck(  # noqa: PLR0913, PLR0917 - what a run is made of
    cluster: Cluster,
    plan: Plan,
    questions: Sequence[Question],
    kinds: Sequence[Mapping[str, Strike]],
    silencing: frozenset[str],
    deadly: frozenset[str],
) -> Seen:
    """Strike lanes of faults under traffic; return what that showed."""
    before = max(cluster.open_files())
    traffic = Traffic(cluster.gateways, questions, CLIENTS, plan.seed, way_of=cluster.way_of)
    lanes, ends_s = Lanes(silencing), time.monotonic() + plan.seconds

    def is_over() -> bool:
        return len(lanes.done) >= plan.faults or time.monotonic() >= ends_s

    try:
        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(kinds):
                group.create_task(lanes.strike(each, Random(f"{plan.seed} lane {number}"), is_over))
    finally:
        await traffic.stop()
    deaths = [(fault.began_s, fault.ended_s) for fault in lanes.done if fault.kind in deadly]
    seen = Seen(lanes.done, judged(traffic.history, cluster.killed, deaths), refusals=cluster.refusals())
    seen.own_longest_s = traffic.pulse.longest_s
    seen.settled_s, seen.held = await _settled(cluster)
    seen.more_files = max(cluster.open_files()) - before
    return seen


async def _settled(cluster: Cluster) -> tuple[float, dict[str, float]]:
    """Wait until nothing of any request is left, or the time for it is over.

    Returns:
        How long that took, without prompts that replicas keep; and what is left, those prompts after their lease.
    """
    began_s, settled_s = time.monotonic(), inf
    while True:
        held = {name: value for name, value in (await cluster.held()).items() if value}
        took_s = time.monotonic() - began_s
        if not held.keys() - {KEPT}:
            settled_s = min(settled_s, took_s)
        elif took_s > SETTLES_S:
            return took_s, held
        if not held or took_s > SETTLES_S + LEASE_S:
            return settled_s, held
        await asyncio.sleep(0.05)


def bars(seen: Seen, least_faults: int, longest_stall_s: float = 5.0, prefix: str = "chaos") -> list[Bar]:
    """Return what chaos must leave as it is."""
    return [
        Bar(f"{prefix}_faults", float(len(seen.faults)), ">=", float(least_faults)),
        Bar(f"{prefix}_requests_failed", float(seen.verdict.failed), "<=", 0.0),
        Bar(f"{prefix}_answers_wrong", float(seen.verdict.wrong), "<=", 0.0),
        Bar(f"{prefix}_requests_without_an_end", float(seen.verdict.open), "<=", 0.0),
        Bar(f"{prefix}_longest_stall_s", seen.verdict.longest_stall_s, "<=", longest_stall_s),
        Bar(f"{prefix}_held_2_s_after", float(len(seen.held)), "<=", 0.0),
        Bar(f"{prefix}_files_more", float(seen.more_files), "<=", float(MOST_FILES)),
        Bar(f"{prefix}_left_over", float(len(seen.left_over)), "<=", 0.0),
    ]


def figures(seen: Seen) -> dict[str, Any]:
    """Return the figures beside the bars."""
    return {
        "faults_by_kind": dict(sorted(Counter(fault.kind for fault in seen.faults).items())),
        "requests": seen.verdict.requests,
        "ends": dict(seen.verdict.ends),
        "lost_with_a_killed_gateway": seen.verdict.lost,
        "cut_too_often": seen.verdict.cut_too_often,
        "own_longest_still_s": seen.own_longest_s,
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
    still_s = row.still_s - row.began_s
    return (
        f"{row.gateway}, {row.ended_s - row.began_s:.1f} s, stood still {row.stall_s:.2f} s until {still_s:+.1f}: "
        f"{'; '.join(met)}; {row.way}"
    )


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="faults without Ray after which it ends")
    parser.add_argument("--seconds", type=float, default=1800.0, help="seconds after which it ends, for each cluster")
    parser.add_argument("--seed", type=int, default=1, help="draws faults and requests")
    parser.add_argument("--logs", type=Path, help="where logs of the processes stay")
    parser.add_argument("--only", choices=["standalone", "ray"], help="one of the two clusters; the result is not kept")
    options = parser.parse_args()
    shown: dict[str, Any] = {"seed": options.seed}
    found = []
    if options.only != "ray":
        with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
            folder = options.logs or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            began_s = time.monotonic()
            seen = asyncio.run(run(folder, Plan(options.seed, options.faults, options.seconds)))
        shown["standalone"] = {"seconds": time.monotonic() - began_s, **figures(seen)}
        found += bars(seen, options.faults)
    if options.only != "standalone":
        began_s, faults = time.monotonic(), round(ON_RAY * options.faults)
        seen = asyncio.run(run_on_ray(Plan(options.seed, faults, options.seconds)))
        shown["ray"] = {"seconds": time.monotonic() - began_s, **figures(seen)}
        found += bars(seen, faults, prefix="chaos_ray")
    for name in ("standalone", "ray"):
        for figure, value in shown.get(name, {}).items():
            print(f"{name} {figure}: {value}")  # noqa: T201 - the command's product
    if options.only is None:
        write_result("chaos", shown, found, versions=our_versions())
    return report_bars(found)


if __name__ == "__main__":
    sys.exit(main())
