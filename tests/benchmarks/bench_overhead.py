"""Tokens a second through a whole cluster against straight at its one vLLM replica: `make bench-overhead`."""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.errors import RackServeError
from deployments.launch.progress import Progress
from deployments.models.source import fetch
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.one_replica_cluster import MODEL, OneReplica, one_replica_cluster
from tests.benchmarks.paired_ratio import measure_pairs
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.rounds import Figure, Figures
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.benchmarks.token_streams import StreamLoad, TokensSeen, stream_tokens

_CLUSTER = "through the cluster"
_STRAIGHT = "straight at the replica"
_ERROR_WANTED = 0.015
_ERROR_ALLOWED = 0.03
"""Beyond this the machine was too busy for the ratio to mean anything."""


@dataclass(slots=True)
class Ways:
    """Both ways to the replica and what they have brought so far.

    Attributes:
        figures: tokens/s and median TTFT of each way, one a pair.
    """

    replica: OneReplica
    options: argparse.Namespace
    figures: Figures = field(default_factory=lambda: {_CLUSTER: {}, _STRAIGHT: {}})
    _seed: int = 0

    def warm_up(self) -> None:
        """Let both ways and the engine run once."""
        for name in self.figures:
            self._stream(name)

    def pair(self, number: int) -> float:
        """Measure both, every other time the other one first; return the ratio of their tokens/s."""
        names = list(self.figures)
        for name in names if number % 2 else reversed(names):
            seen = self._stream(name)
            ttft_ms = statistics.median(seen.ttft_s) * 1000
            for figure, value, unit in (("rate", seen.tokens_per_s, "tokens/s"), ("ttft_p50", ttft_ms, "ms")):
                self.figures[name].setdefault(figure, Figure(unit)).rounds.append(value)
        return self.figures[_CLUSTER]["rate"].rounds[-1] / self.figures[_STRAIGHT]["rate"].rounds[-1]

    def _stream(self, name: str) -> TokensSeen:
        # New prompts each time: whoever came second would find the first one's in the prefix cache.
        self._seed += 1
        options = self.options
        target = self.replica.through_cluster if name == _CLUSTER else self.replica.straight
        load = StreamLoad(options.requests, options.streams, options.tokens, options.words, self._seed)
        return stream_tokens(target, load)


def _table(figures: Figures, options: argparse.Namespace) -> Table:
    table = Table(
        title=f"{options.streams} streams of {options.tokens} tokens, {options.words}-word prompts, real vLLM on CPU",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    table.add_column("tokens/s", justify="right")
    table.add_column("of the pairs", justify="right")
    table.add_column("TTFT p50, ms", justify="right")
    for name, row in figures.items():
        rate = row["rate"]
        span = f"{min(rate.rounds):.0f} to {max(rate.rounds):.0f}"
        table.add_row(name, f"{rate.median:.1f}", span, f"{row['ttft_p50'].median:.0f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8, help="pairs of runs, one each way, at the least")
    parser.add_argument("--most-pairs", type=int, default=40, help="pairs at the most")
    parser.add_argument("--requests", type=int, default=16, help="requests of one run")
    parser.add_argument("--streams", type=int, default=16, help="streams at a time")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--words", type=int, default=40, help="words of each prompt")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit code: 0 if the bar holds, 2 if there was no cluster to measure."""
    unwind_on_sigterm()
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
            ways = Ways(replica, options)
            ways.warm_up()
            ratio = measure_pairs(
                ways.pair,
                least=options.pairs,
                most=options.most_pairs,
                error=_ERROR_WANTED,
                progress=lambda now: status.update(
                    f"{len(now.ratios)} pairs: {now.value:.3f} x, give or take {now.error:.3f}"
                ),
            )
    console.print(_table(ways.figures, options))
    console.print(
        f"through the cluster: {ratio.value:.3f} x, give or take {ratio.error:.3f} (95 %, {len(ratio.ratios)} pairs)",
        highlight=False,
    )
    bars = [
        Bar("cluster_tokens_ratio", ratio.value, ">=", 0.97),
        Bar("cluster_tokens_ratio_error", ratio.error, "<=", _ERROR_ALLOWED),
    ]
    load = {key: getattr(options, key) for key in ("requests", "streams", "tokens", "words")}
    rows = {name: {key: figure.as_json() for key, figure in row.items()} for name, row in ways.figures.items()}
    path = write_result(
        "bench-overhead",
        {"load": load, "ways": rows, "ratios": ratio.ratios},
        bars,
        versions=our_versions(),
        directory=options.results,
    )
    console.print(f"results: {path}", highlight=False)
    return report_bars(bars)


if __name__ == "__main__":
    sys.exit(main())
