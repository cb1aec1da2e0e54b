"""What routing is worth: a trace in virtual time, gateways on simulated and on real engines: `make bench-routing`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from cluster.errors import RackServeError
from deployments.models.source import fetch
from deployments.simulator.trace import TraceRequest
from deployments.simulator.trace_file import read_trace
from tests.benchmarks.bars import Bar, report_bars
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.peers import PeerMissingError
from tests.benchmarks.result_file import RESULTS, our_versions, write_result
from tests.benchmarks.routing.engine_routing import (
    EngineRouting,
    EngineTurns,
    engine_bars,
    engine_json,
    engine_table,
    measure_engines,
)
from tests.benchmarks.routing.grouped_chats import ChatLoad
from tests.benchmarks.routing.routing_plot import plot_routing
from tests.benchmarks.routing.shapes import SHAPES
from tests.benchmarks.routing.simulated_engines import (
    FLEETS,
    MOONCAKE,
    SimulatedPlan,
    SimulatedRouting,
    cases,
    measure_simulated,
    simulated_bars,
    simulated_json,
    simulated_table,
)
from tests.benchmarks.routing.trace_replay import (
    ONE_POOLED_CACHE,
    OURS,
    PolicyReplay,
    repeatable_bar,
    replay_bars,
    replay_once,
    replay_policies,
    replay_table,
)
from tests.benchmarks.server_process import unwind_on_sigterm
from tests.benchmarks.token_streams import BrokenStreamError
from tests.data_files import MOONCAKE_TRACE

TRACE: Final = "trace"
SIMULATED: Final = "simulated"
ENGINES: Final = "engines"
PARTS: Final = (TRACE, SIMULATED, ENGINES)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="this part alone; may be given again")
    parser.add_argument("--cluster", action="store_true", help="engines: also a whole cluster, 3 replicas more, 5 GB")
    parser.add_argument("--bars-alone", action="store_true", help="engines: without those whom no bar names")
    parser.add_argument("--limit", type=int, default=0, help="trace: only so many requests; 0: all, with their bars")
    parser.add_argument("--rounds", type=int, default=6, help="engines: rounds that count")
    parser.add_argument("--simulated-rounds", type=int, default=3, help="simulated: rounds")
    parser.add_argument("--shape", choices=(*SHAPES, MOONCAKE), action="append", help="simulated: this shape alone")
    parser.add_argument("--fleet", type=int, action="append", help="simulated: so many engines alone, 2 or more")
    parser.add_argument("--seed", type=int, default=0, help="of ties, of all words, and of where the trace begins")
    parser.add_argument("--name", default="bench-routing", help="what the result is called")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the result goes")
    return parser.parse_args()


def main() -> int:
    """Run; return the exit code: 0 if all bars hold, 1 if one is short, 2 if something could not be measured."""
    unwind_on_sigterm()
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        return _Bench(_options(), console).run()
    except (RackServeError, PeerMissingError, BrokenStreamError, RuntimeError) as error:
        console.print(f"bench-routing: {error}", style="red", markup=False)
        return 2


class _Bench:
    """The parts that were asked for, and what came of them."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options = options
        self._console = console
        self._bars: list[Bar] = []
        self._parts = options.part or PARTS

    def run(self) -> int:
        trace = self._trace()
        replays = self._replay(trace) if trace and TRACE in self._parts else {}
        simulated = self._simulated(trace) if SIMULATED in self._parts else SimulatedRouting()
        load = ChatLoad(seed=self._options.seed)
        engines = self._engines(load) if ENGINES in self._parts else EngineRouting()
        figures: dict[str, object] = {
            "replay": {name: {**each.result.as_dict(), "cpu_s": each.cpu_s} for name, each in replays.items()},
            "simulated": simulated_json(simulated) if simulated.figures else None,
            "engines": engine_json(engines, load) if engines.figures else None,
        }
        path = write_result(
            self._options.name, figures, self._bars, versions=our_versions(), directory=self._options.results
        )
        self._say(f"results: {path}")
        results = {name: each.result for name, each in replays.items()}
        pooled = None if self._options.limit else ONE_POOLED_CACHE
        plot = plot_routing(results, pooled, simulated, engines.ttft_s, path.with_suffix(".png"))
        if plot is not None:
            self._say(f"plot: {plot}")
        return report_bars(self._bars)

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def _progress(self, text: str) -> None:
        self._console.print(text, style="dim", highlight=False, markup=False)

    def _show(self, table: Table, bars: Sequence[Bar]) -> None:
        self._console.print(table)
        self._bars += bars

    def _trace(self) -> list[TraceRequest]:
        """Read the trace; empty, with a word about it, where a part that was asked for would need it."""
        path = MOONCAKE_TRACE.found()
        if path is not None:
            return read_trace(path)
        for part, what in ((TRACE, "trace replay"), (SIMULATED, f"the shape {MOONCAKE}")):
            if part in self._parts:
                self._console.print(f"{what} skipped: {MOONCAKE_TRACE.why_skipped}", style="yellow", markup=False)
        return []

    def _replay(self, trace: Sequence[TraceRequest]) -> dict[str, PolicyReplay]:
        """Replay the trace with every policy."""
        limit, seed = self._options.limit, self._options.seed
        trace = trace[: limit or None]
        replays = replay_policies(trace, seed)
        repeated = replay_once(trace, OURS, seed)
        # The bars are figures of the whole trace; a part of it, still filling the caches, has others.
        bars = [repeatable_bar(replays[OURS], repeated)] if limit else replay_bars(replays, repeated)
        self._show(replay_table(replays), bars)
        return replays

    def _simulated(self, trace: Sequence[TraceRequest]) -> SimulatedRouting:
        """Send every shape through every gateway in front of simulated engines."""
        options = self._options
        chosen = cases(options.shape or (*SHAPES, MOONCAKE), options.fleet or FLEETS, with_trace=bool(trace))
        plan = SimulatedPlan(chosen, trace, options.simulated_rounds, options.seed)
        measured = measure_simulated(plan, self._progress)
        self._show(simulated_table(measured), simulated_bars(measured))
        return measured

    def _engines(self, load: ChatLoad) -> EngineRouting:
        """Send chats through every gateway in front of real engines."""
        fetch(MODEL, self._console.print)
        options = self._options
        turns = EngineTurns(options.rounds, with_cluster=options.cluster, bars_alone=options.bars_alone)
        measured = measure_engines(turns, load, self._progress)
        self._show(engine_table(measured.figures, load), engine_bars(measured))
        return measured


if __name__ == "__main__":
    sys.exit(main())
