"""Real gateways over HTTP in front of simulated engines: shapes of load that real engines on two cores cannot carry."""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.table import Table

from deployments.simulator.trace import TraceRequest
from tests.benchmarks.bars import Bar
from tests.benchmarks.rounds import Figure, Figures
from tests.benchmarks.routing.gateways import BASELINE, GATEWAY_PEERS, OURS, gateway
from tests.benchmarks.routing.shapes import SHAPES, UNDER_PRESSURE, trace_part
from tests.benchmarks.routing.sim_engines import MODEL, empty_caches, sim_engines
from tests.benchmarks.routing.streamed_chats import WorkloadSeen, run_workload, upper_decile
from tests.benchmarks.routing.workload import Workload

FLEETS: Final = (8, 32)
"""Numbers of engines."""
MOONCAKE: Final = "mooncake"
CONTESTANTS: Final = (OURS, *GATEWAY_PEERS, BASELINE)
_COMPARED: Final = ("ttft_mean", "ttft_p90")


@dataclass(frozen=True, slots=True)
class SimulatedCase:
    """One shape of load on one number of engines.

    Attributes:
        shape: its name in `SHAPES`, or `MOONCAKE`.
        engines: how many.
    """

    shape: str
    engines: int

    @property
    def name(self) -> str:
        """Its name in tables, bars and results."""
        return f"{self.shape}_{self.engines}"

    @property
    def bound(self) -> float:
        """What ours may take of the better peer's time to first token."""
        return 0.7 if self.shape in UNDER_PRESSURE else 1.0

    def workload(self, seed: str, trace: Sequence[TraceRequest]) -> Workload:
        """Make its requests; another seed shares no words with these."""
        rng = random.Random(f"{self.name} {seed}")
        return trace_part(trace, self.engines, rng) if self.shape == MOONCAKE else SHAPES[self.shape](self.engines, rng)


@dataclass(slots=True)
class SimulatedRouting:
    """What was measured.

    Attributes:
        figures: by case, in the order measured.
        lag_p90_s: by case, the 90th percentile of how late the client's own timer was, worst round.
    """

    figures: dict[SimulatedCase, Figures] = field(default_factory=dict)
    lag_p90_s: dict[SimulatedCase, float] = field(default_factory=dict)


def cases(shapes: Sequence[str], fleets: Sequence[int], *, with_trace: bool) -> list[SimulatedCase]:
    """Return the cases of these shapes and numbers of engines; without the trace those that need none."""
    return [SimulatedCase(shape, engines) for engines in fleets for shape in shapes if shape != MOONCAKE or with_trace]


@dataclass(frozen=True, slots=True)
class SimulatedPlan:
    """What to measure.

    Attributes:
        cases: one after another.
        trace: the recorded trace; may be empty where no case needs it.
        rounds: how often each contestant gets each case.
        seed: of all words, and of where stretches of the trace begin; each round adds its number.
        contestants: ours and its peers.
    """

    cases: Sequence[SimulatedCase]
    trace: Sequence[TraceRequest] = ()
    rounds: int = 3
    seed: int = 0
    contestants: Sequence[str] = CONTESTANTS


def measure_simulated(plan: SimulatedPlan, report: Callable[[str], None]) -> SimulatedRouting:
    """Send each case's load through each contestant, round after round.

    Contestants take turns within a round, in an order that rotates, and get the same load; each round has words of its
    own. Before each turn the engines' caches are emptied and the contestant starts anew, so it knows nothing yet.

    Args:
        plan: what to measure.
        report: called with a line of figures after each turn.

    Raises:
        PeerMissingError: a peer is not installed.
        RuntimeError: a server did not come up.
        BrokenStreamError: an answer was not complete.
    """
    measured = SimulatedRouting()
    with tempfile.TemporaryDirectory(prefix="bench-routing-") as logs:
        for engines in dict.fromkeys(case.engines for case in plan.cases):
            with sim_engines(engines, Path(logs)) as ports:
                fleet = _Fleet(plan, ports, Path(logs), report)
                for case in plan.cases:
                    if case.engines == engines:
                        measured.figures[case], measured.lag_p90_s[case] = fleet.measure(case)
    return measured


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Running engines, and what to measure in front of them."""

    plan: SimulatedPlan
    ports: Sequence[int]
    log_dir: Path
    report: Callable[[str], None]

    def measure(self, case: SimulatedCase) -> tuple[Figures, float]:
        """Return the figures of a case, and how late the client's timer was in its worst round."""
        contestants = self.plan.contestants
        figures: Figures = {name: {} for name in contestants}
        lags_s = []
        for number in range(self.plan.rounds):
            workload = case.workload(f"{self.plan.seed} {number}", self.plan.trace)
            first = number % len(contestants)
            for name in (*contestants[first:], *contestants[:first]):
                seen = self._turn(name, workload)
                lags_s.append(upper_decile(seen.lags_s))
                for figure, (value, unit) in seen.figures().items():
                    figures[name].setdefault(figure, Figure(unit)).rounds.append(value)
                shown = ", ".join(f"{figure} {row.rounds[-1]:.3f}" for figure, row in figures[name].items())
                self.report(
                    f"{case.name}, round {number + 1} of {self.plan.rounds}, {name}: {shown} "
                    f"({len(seen.ttft_s)} requests, lag {1e3 * lags_s[-1]:.1f} ms)"
                )
        return figures, max(lags_s)

    def _turn(self, name: str, workload: Workload) -> WorkloadSeen:
        empty_caches(self.ports)
        with gateway(name, self.ports, self.log_dir) as server:
            return run_workload(server.port, MODEL, workload)


def simulated_bars(measured: SimulatedRouting) -> list[Bar]:
    """Return two bars a case: ours, mean and p90, over the better peer's, of the medians of the rounds."""
    return [
        Bar(f"{case.name}_{figure}_vs_better_peer", ratio(figures, figure), "<=", case.bound)
        for case, figures in measured.figures.items()
        for figure in _COMPARED
    ]


def ratio(figures: Figures, figure: str) -> float:
    """Return ours over the better peer's."""
    return figures[OURS][figure].median / min(figures[peer][figure].median for peer in GATEWAY_PEERS)


def simulated_table(measured: SimulatedRouting) -> Table:
    """Return the comparison: mean and p90 of the time to first token in seconds, and cached share."""
    table = Table(
        title="Simulated engines behind real gateways: mean TTFT / p90, s / cached share; medians of the rounds",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("shape, engines", no_wrap=True)
    for name in (*CONTESTANTS, "over better peer"):
        table.add_column(name, justify="right")
    for case, figures in measured.figures.items():
        cells = [
            " / ".join(f"{figures[name][figure].median:.3f}" for figure in (*_COMPARED, "cached_share"))
            for name in CONTESTANTS
        ]
        table.add_row(case.name, *cells, " / ".join(f"{ratio(figures, figure):.2f}" for figure in _COMPARED))
    return table


def simulated_json(measured: SimulatedRouting) -> Mapping[str, object]:
    """Return everything for the result file, by case."""
    return {
        case.name: {
            "client_lag_p90_s": measured.lag_p90_s[case],
            "contestants": {
                name: {figure: value.as_json() for figure, value in row.items()} for name, row in figures.items()
            },
        }
        for case, figures in measured.figures.items()
    }
