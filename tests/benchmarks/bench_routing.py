"""What routing is worth: cache hits and time to first token, on a trace and on real engines: `make bench-routing`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from cluster.errors import RackServeError
from deployments.models.source import fetch
from deployments.simulator.trace import read_trace
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.engine_routing import EngineRouting, engine_bars, engine_json, engine_table, measure_engines
from tests.benchmarks.grouped_chats import ChatLoad
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.peers import PeerMissingError
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.routing_plot import plot_routing
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.benchmarks.token_streams import BrokenStreamError
from tests.benchmarks.trace_replay import (
    ONE_POOLED_CACHE,
    OURS,
    PolicyReplay,
    repeatable_bar,
    replay_bars,
    replay_once,
    replay_policies,
    replay_table,
)
from tests.data_files import MOONCAKE_TRACE


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay-only", action="store_true", help="the trace alone, no engines")
    parser.add_argument("--cluster", action="store_true", help="also a whole cluster: 3 replicas more, 5 GB")
    parser.add_argument("--limit", type=int, default=0, help="so many requests of the trace; 0: all, with its bars")
    parser.add_argument("--rounds", type=int, default=3, help="rounds on the engines that count")
    parser.add_argument("--seed", type=int, default=0, help="of the replay's ties and the chats' words")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short, 2 if something could not be measured."""
    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        return _bench(_options(), console)
    except (RackServeError, PeerMissingError, BrokenStreamError, RuntimeError) as error:
        console.print(f"bench-routing: {error}", style="red", markup=False)
        return 2


def _bench(options: argparse.Namespace, console: Console) -> int:
    bars: list[Bar] = []
    replays = _replay(options, console, bars)
    measured = EngineRouting()
    load = ChatLoad(seed=options.seed)
    if not options.replay_only:
        fetch(MODEL, console.print)
        measured = measure_engines(
            options.rounds,
            load,
            lambda text: console.print(text, style="dim", highlight=False),
            with_cluster=options.cluster,
        )
        console.print(engine_table(measured.figures, load))
        bars += engine_bars(measured.figures)
    figures: dict[str, object] = {
        "replay": {name: {**each.result.as_dict(), "cpu_s": each.cpu_s} for name, each in replays.items()},
        "engines": engine_json(measured, load) if measured.figures else None,
    }
    path = write_result("bench-routing", figures, bars, versions=our_versions(), directory=options.results)
    console.print(f"results: {path}", highlight=False)
    if replays or measured.ttft_s:
        results = {name: each.result for name, each in replays.items()}
        pooled = None if options.limit else ONE_POOLED_CACHE
        plot = plot_routing(results, pooled, measured.ttft_s, path.with_suffix(".png"))
        console.print(f"plot: {plot}", highlight=False)
    return report_bars(bars)


def _replay(options: argparse.Namespace, console: Console, bars: list[Bar]) -> dict[str, PolicyReplay]:
    """Replay the trace with every policy and add the bars; nothing where there is no trace."""
    path = MOONCAKE_TRACE.found()
    if path is None:
        console.print(f"trace replay skipped: {MOONCAKE_TRACE.why_skipped}", style="yellow")
        return {}
    trace = read_trace(path, options.limit or None)
    replays = replay_policies(trace, options.seed)
    repeated = replay_once(trace, OURS, options.seed)
    console.print(replay_table(replays))
    # The bars are figures of the whole trace; a part of it, still filling the caches, has others.
    bars += [repeatable_bar(replays[OURS], repeated)] if options.limit else replay_bars(replays, repeated)
    return replays


if __name__ == "__main__":
    sys.exit(main())
