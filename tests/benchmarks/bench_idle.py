"""What an idle cluster costs: CPU time by process, beside the RackServe from before it was made calm.

Both clusters run at once and are measured over the same seconds, so that their ratio does not depend on how fast the
machine is at that time. `python -m tests.benchmarks.bench_idle --help`
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.idle_cluster import REPLICAS, IdleShares, idle_cluster, shares
from tests.benchmarks.result_file import our_versions, write_result
from tests.benchmarks.server_process import ROOT, unwind_on_sigterm

BEFORE: Final = "28d147b"
"""The last commit before idle clusters were made calm."""
TOTAL_BAR: Final = 0.5
OURS_BAR: Final = 0.3


def main() -> int:
    """Run the benchmark; return 1 if a bar is short."""
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settle", type=float, default=20.0, help="seconds from READY until measuring begins")
    parser.add_argument("--window", type=float, default=40.0, help="seconds to measure over")
    parser.add_argument("--before", default=BEFORE, help="commit to compare with; empty: only measure")
    options = parser.parse_args()
    with ExitStack() as running:
        clusters = {}
        if options.before:
            checkout = running.enter_context(_checkout(options.before))
            clusters["before"] = running.enter_context(idle_cluster(checkout))
            clusters["before"].wait_until_ready()  # two starts at once are too much for a small machine
        clusters["now"] = running.enter_context(idle_cluster())
        clusters["now"].wait_until_ready()
        time.sleep(options.settle)
        began_s = time.monotonic()
        first = {name: cluster.read() for name, cluster in clusters.items()}
        time.sleep(options.window)
        seconds = time.monotonic() - began_s
        found = {name: shares(first[name], cluster.read(), seconds) for name, cluster in clusters.items()}
    print("\n".join(_table(found)))
    bars = []
    if "before" in found:
        now, before = found["now"], found["before"]
        bars = [
            Bar("idle_cpu_of_before", now.total / before.total, "<=", TOTAL_BAR),
            Bar("idle_cpu_ours_of_before", now.our_total / before.our_total, "<=", OURS_BAR),
        ]
    figures = {
        "replicas": REPLICAS,
        "window_s": seconds,
        "before_commit": options.before,
        "percent_of_a_core": {name: _as_json(each) for name, each in found.items()},
    }
    write_result("bench-idle", figures, bars, versions=our_versions())
    return report_bars(bars)


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Give a folder with the files of a commit.

    Raises:
        RuntimeError: this repository does not have it.
    """
    folder = Path(tempfile.mkdtemp(prefix="rackserve-before-", dir="/tmp"))
    try:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            raise RuntimeError(f"no commit {commit} here; give --before another, or '': {archive.stderr.decode()}")
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _table(found: Mapping[str, IdleShares]) -> Iterator[str]:
    roles = {role: None for each in found.values() for role in each.roles}
    names = list(found)
    yield f"{'% of a core':<22}" + "".join(f"{name:>10}{'ours':>8}" for name in names)
    for role in roles:
        cells = [(each.roles.get(role, 0.0), each.ours.get(role)) for each in found.values()]
        yield f"{role:<22}" + "".join(f"{all_:10.2f}{'' if ours is None else f'{ours:.2f}':>8}" for all_, ours in cells)
    yield f"{'all':<22}" + "".join(f"{each.total:10.2f}{each.our_total:8.2f}" for each in found.values())


def _as_json(each: IdleShares) -> dict[str, object]:
    rounded = {name: {role: round(value, 3) for role, value in part.items()} for name, part in _parts(each)}
    return {**rounded, "total": round(each.total, 3), "ours_total": round(each.our_total, 3)}


def _parts(each: IdleShares) -> tuple[tuple[str, Mapping[str, float]], ...]:
    return (("processes", each.roles), ("ours", each.ours))


if __name__ == "__main__":
    sys.exit(main())
