"""Tokens a second through a whole cluster against straight at its one vLLM replica: `make bench-overhead`."""

import argparse
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.errors import RackServeError
from deployments.launch import Progress
from deployments.models.source import fetch
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.one_replica_cluster import MODEL, OneReplica, one_replica_cluster
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.rounds import Figures, interleaved
from tests.benchmarks.token_streams import StreamLoad, stream_tokens

_CLUSTER = "through the cluster"
_STRAIGHT = "straight at the replica"
_WARM_UP_SEED = 1_000_000


def _measure(replica: OneReplica, options: argparse.Namespace) -> Figures:
    targets = {_CLUSTER: replica.through_cluster, _STRAIGHT: replica.straight}
    seeds = iter(range(1, 1_000_000))

    def measure(name: str, turn: int) -> dict[str, tuple[float, str]]:
        del turn
        # New prompts each time: whoever came second would find the first one's in the prefix cache.
        load = StreamLoad(options.requests, options.streams, options.tokens, options.words, next(seeds))
        seen = stream_tokens(targets[name], load)
        ttft_ms = statistics.median(seen.ttft_s) * 1000
        return {"rate": (seen.tokens_per_s, "tokens/s"), "ttft_p50": (ttft_ms, "ms")}

    for target in targets.values():
        stream_tokens(target, StreamLoad(options.streams, options.streams, 16, options.words, _WARM_UP_SEED))
    return interleaved(list(targets), options.rounds, measure)


def _ratio(figures: Figures) -> float:
    """Return the median of the rounds' own ratios: the two of a round ran one right after the other."""
    pairs = zip(figures[_CLUSTER]["rate"].rounds, figures[_STRAIGHT]["rate"].rounds, strict=True)
    return statistics.median(through / straight for through, straight in pairs)


def _table(figures: Figures, options: argparse.Namespace) -> Table:
    table = Table(
        title=f"{options.streams} streams of {options.tokens} tokens, {options.words}-word prompts, real vLLM on CPU",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    table.add_column("tokens/s", justify="right")
    table.add_column("of the rounds", justify="right")
    table.add_column("TTFT p50, ms", justify="right")
    for name, row in figures.items():
        rate = row["rate"]
        span = f"{min(rate.rounds):.0f} to {max(rate.rounds):.0f}"
        table.add_row(name, f"{rate.median:.1f}", span, f"{row['ttft_p50'].median:.0f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds that count, each with both ways")
    parser.add_argument("--requests", type=int, default=32, help="requests of one way in one round")
    parser.add_argument("--streams", type=int, default=16, help="streams at a time")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--words", type=int, default=40, help="words of each prompt")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit code: 0 if the bar holds, 2 if there was no cluster to measure."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        return _bench(_options(), console)
    except RackServeError as error:
        console.print(f"bench-overhead: {error}", style="red")
        return 2


def _bench(options: argparse.Namespace, console: Console) -> int:
    fetch(MODEL, console.print)
    began_s = time.monotonic()
    with console.status("starting Ray, Serve, one vLLM replica and a gateway") as status:

        def report(progress: Progress) -> None:
            ready = ", ".join(f"{name} {model.ready}/{model.wanted}" for name, model in progress.models.items())
            status.update(f"replicas ready: {ready} ({time.monotonic() - began_s:.0f} s)")

        with one_replica_cluster(report) as replica:
            console.print(f"cluster ready after {time.monotonic() - began_s:.0f} s", highlight=False)
            status.update(f"{options.rounds} rounds")
            figures = _measure(replica, options)
    console.print(_table(figures, options))
    bars = [Bar("cluster_tokens_ratio", _ratio(figures), ">=", 0.97)]
    load = {key: getattr(options, key) for key in ("rounds", "requests", "streams", "tokens", "words")}
    rows = {name: {key: figure.as_json() for key, figure in row.items()} for name, row in figures.items()}
    path = write_result(
        "bench-overhead", {"load": load, "ways": rows}, bars, versions=our_versions(), directory=options.results
    )
    console.print(f"results: {path}", highlight=False)
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
