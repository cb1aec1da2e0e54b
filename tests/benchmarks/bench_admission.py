"""Flow control: CPU time of each of admission's calls, and bursts at a real gateway in front of simulated replicas."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from router.dispatch.replica import Replica
from router.flow_control.admission import Admission
from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest
from router.replicas.endpoint import Endpoint
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.burst import PRIORITIES, BurstResult, burst_cluster
from tests.benchmarks.result_file import our_versions, write_result
from tests.benchmarks.server_process import unwind_on_sigterm

ROUNDS = 5
FAST_CALLS = 50_000
TENANTS = 100
SIZES = (1_000, 10_000, 100_000)
BURSTS = 3
BURST_REQUESTS = 15_000


def cpu_us(call: Callable[[], int]) -> float:
    """Return the CPU time, in microseconds, of one of the operations that `call` does and counts."""
    began_ns = time.process_time_ns()
    operations = call()
    return (time.process_time_ns() - began_ns) / operations / 1000


def joined(admission: Admission[QueuedRequest, Replica], name: str) -> Replica:
    """Give an admission one more replica."""
    replica = Replica(Endpoint(name, "m", "h", 1))
    admission.join(replica, 0.0)
    return replica


def fast_path() -> int:
    """Offer, send and end requests one after the other, with nothing waiting; return their number."""
    admission: Admission[QueuedRequest, Replica] = Admission(AdmissionLimits())
    replicas = [joined(admission, f"replica-{number}") for number in range(4)]
    slots, replica = admission.slots, replicas[1]
    for number in range(FAST_CALLS):
        now_s = number * 1e-3
        request = QueuedRequest("tenant", 500.0)
        admission.offer(request, now_s)
        slots.take(replica)
        slots.sent(replica, 0.0, now_s)
        slots.give(replica, now_s)
        admission.ended(request, now_s, 400.0)
    return FAST_CALLS


def loaded(size: int) -> dict[str, float]:
    """Return the cost of each call with about `size` requests waiting, of `TENANTS` tenants in three classes."""
    rng = Random(size)
    limits, room = AdmissionLimits(max_wait_s=1e9), WaitingRoom(2 * size, 1 << 40)
    admission: Admission[QueuedRequest, Replica] = Admission(limits, room)
    replica = joined(admission, "replica")
    while admission.slots.any_open(0.0):
        admission.slots.take(replica)
        admission.slots.sent(replica, 0.0, 0.0)
    requests = [
        QueuedRequest(f"t{rng.randrange(TENANTS)}", rng.uniform(10, 10_000), rng.choice(tuple(Priority)), 1_000)
        for _ in range(size)
    ]

    def offer() -> int:
        for number, request in enumerate(requests):
            admission.offer(request, number * 1e-6)
        return size

    def remove() -> int:
        for request in leaving:
            admission.remove(request, 1.0)
        return len(leaving)

    def dispatch() -> int:
        count = 0
        while (request := admission.next(2.0)) is not None:
            admission.ended(request, 2.0, 0.7 * request.work)
            count += 1
        return count

    costs = {"offer": cpu_us(offer)}
    leaving = rng.sample(requests, size // 4)
    costs["remove"] = cpu_us(remove)
    admission.slots.give(replica, 2.0)
    costs["next_and_ended"] = cpu_us(dispatch)
    return costs


def bursts(console: Console) -> tuple[list[dict[str, float]], list[Bar]]:
    """Send the same gateway one burst after the other; return what came of each, and the bars."""
    with (
        tempfile.TemporaryDirectory() as folder,
        burst_cluster(Path(folder), max_waiting_requests=BURST_REQUESTS) as cluster,
    ):
        results = [cluster.run(BURST_REQUESTS, seed) for seed in range(BURSTS)]
    rows = [_figures(result) for result in results]
    table = Table(title=f"bursts of {BURST_REQUESTS} requests, 5 tenants, 4 simulated replicas", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.4g}" for value in row.values()))
    console.print(table)
    last = rows[-1]
    return rows, [
        Bar("burst_answered_share", min(row["answered"] for row in rows) / BURST_REQUESTS, ">=", 1.0),
        Bar("burst_jain", min(row["jain"] for row in rows), ">=", 0.98),
        Bar("burst_high_over_low_p99", max(row["high_p99_s"] / row["low_p99_s"] for row in rows), "<=", 0.2),
        Bar("burst_memory_growth", last["rss_mib"] / rows[0]["rss_mib"] - 1.0, "<=", 0.1),
    ]


def _figures(result: BurstResult) -> dict[str, float]:
    p99_s = {f"{name}_p99_s": result.quantile_s(name, 0.99) for name in PRIORITIES}
    return {
        "answered": float(result.outcomes["ok"]),
        "most_waiting": float(result.most_waiting),
        "jain": min(result.jain("normal"), result.jain("low")),
        **p99_s,
        "rss_mib": result.peak_rss_bytes / 2**20,
        "gateway_cpu_us": result.gateway_cpu_s / len(result.asked) * 1e6,
    }


def main() -> int:
    """Run; return the exit code: 0 if all bars hold."""
    unwind_on_sigterm()
    fast_us = min(cpu_us(fast_path) for _ in range(ROUNDS))
    figures = {size: loaded(size) for size in SIZES}
    table = Table(title="CPU microseconds a call (all of it Python, one core)", title_justify="left")
    table.add_column("waiting", justify="right")
    for name in ("offer", "remove", "next_and_ended"):
        table.add_column(name, justify="right")
    for size, costs in figures.items():
        table.add_row(str(size), *(f"{cost:.2f}" for cost in costs.values()))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"nothing waits: {fast_us:.2f} for offer, take, sent, give and ended together", highlight=False)
    bars = [Bar("admission_fast_path_us", fast_us, "<=", 4.0, aim=2.0)]
    bars += [Bar(f"admission_{name}_100k_waiting_us", cost, "<=", 15.0) for name, cost in figures[SIZES[-1]].items()]
    burst_rows, burst_bars = bursts(console)
    bars += burst_bars
    waiting = {str(size): costs for size, costs in figures.items()}
    result = {"fast_path_us": fast_us, "waiting": waiting, "bursts": burst_rows}
    console.print(f"results: {write_result('bench-admission', result, bars, versions=our_versions())}", highlight=False)
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
