"""Real engines behind one gateway after another: the same chats through ours, policy by policy, and through peers."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.benchmarks.bars import Bar
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.rounds import Figures, interleaved
from tests.benchmarks.routing.gateways import BASELINE, GATEWAY_PEERS, LEAST_LOAD, OURS, POLICY, gateway
from tests.benchmarks.routing.grouped_chats import ChatLoad, ChatsSeen, run_chats, run_chats_by_group
from tests.benchmarks.routing.plain_engines import ENGINES, empty_caches, plain_engines
from tests.benchmarks.routing.ray_serve_llm_peer import ray_serve_llm
from tests.benchmarks.routing.routed_cluster import routed_cluster
from tests.benchmarks.token_streams import Target

RAY_SERVE_LLM: Final = "ray-serve-llm prefix_aware"
"""Starts replicas of its own, of the same vLLM with the same options; they come up once all others are gone."""
NO_GATEWAY: Final = "no gateway, 3 engines"
PINNED: Final = {NO_GATEWAY: 3, "no gateway, 2 engines": 2}
"""No gateway at all, each group of chats on one engine, new groups on so many engines in turns: what affinity can come
to. With two, an engine idles, and each of the others has a core of this machine for itself."""
PEERS: Final = (*GATEWAY_PEERS, RAY_SERVE_LLM)
CLUSTER: Final = "rackserve cluster"
"""The whole cluster with our default policy, in front of replicas of its own that tell what they cache."""
CLUSTER_BASELINE: Final = "rackserve cluster round_robin"
"""The same cluster with replicas in turns: Ray's own processes take their part of the same cores in both."""
CONTESTANTS: Final = (BASELINE, LEAST_LOAD, OURS, *GATEWAY_PEERS)
"""Those in front of the same plain engines, in turns, with `PINNED`."""


@dataclass(slots=True)
class EngineRouting:
    """What was measured.

    Attributes:
        figures: mean and p90 TTFT, tokens/s and cached share, by contestant, one a round.
        ttft_s: by contestant, of every request of the rounds that count.
    """

    figures: Figures = field(default_factory=dict)
    ttft_s: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineTurns:
    """Who takes turns, and how often.

    Attributes:
        rounds: that count; a short one to warm up comes before.
        with_cluster: whether our whole cluster takes part too.
        bars_alone: leave out whom no bar names: less than two thirds of the time.
    """

    rounds: int
    with_cluster: bool = False
    bars_alone: bool = False

    @property
    def plain(self) -> tuple[str, ...]:
        """Those in front of plain engines."""
        return (OURS, *GATEWAY_PEERS, NO_GATEWAY) if self.bars_alone else (*CONTESTANTS, *PINNED)

    @property
    def clusters(self) -> tuple[tuple[str, str], ...]:
        """Our clusters, with the policy of each."""
        baseline = () if self.bars_alone else ((CLUSTER_BASELINE, "round_robin"),)
        return (*baseline, (CLUSTER, POLICY)) if self.with_cluster else ()


def measure_engines(turns: EngineTurns, load: ChatLoad, report: Callable[[str], None]) -> EngineRouting:
    """Send the same chats through each contestant, round after round; each round has a seed of its own.

    Those in front of plain engines take turns. Before each turn the engines' caches are emptied and the contestant
    starts anew, so that nobody finds what another left behind. Then come, one after the other because memory does not
    hold them all, those that bring replicas of their own: Ray Serve LLM and, where asked for, our whole cluster.

    Raises:
        ClusterError: the cluster did not come up.
        PeerMissingError: a peer is not installed.
        RuntimeError: a server did not come up.
        BrokenStreamError: an answer was not complete.
    """
    run = _Run(turns.rounds, load, report)
    with tempfile.TemporaryDirectory(prefix="bench-routing-") as logs:
        _in_turns(run, turns.plain, Path(logs))
        _ray_serve_llm(run, Path(logs))
    for name, policy in turns.clusters:
        _cluster(run, name, policy)
    return run.measured


@dataclass(slots=True)
class _Run:
    """The rounds and what came of them so far."""

    rounds: int
    load: ChatLoad
    report: Callable[[str], None]
    measured: EngineRouting = field(default_factory=EngineRouting)

    def rounds_of(self, names: Sequence[str], chats: Callable[[str, ChatLoad], ChatsSeen]) -> None:
        """Let each of `names` take its turn in each round; `chats` sends a load through one of them."""

        def turn(name: str, number: int) -> dict[str, tuple[float, str]]:
            shape = replace(self.load, seed=self.load.seed + number)
            if not number:  # the warm-up round only has to make every part run once
                shape = replace(shape, chats=self.load.at_a_time, turns=1)
            seen = chats(name, shape)
            if number:
                self.measured.ttft_s.setdefault(name, []).extend(seen.ttft_s)
            figures = seen.figures()
            shown = ", ".join(f"{figure} {value:.3f}" for figure, (value, _) in figures.items())
            self.report(f"round {number} of {self.rounds}, {name}: {shown}")
            return figures

        self.measured.figures |= interleaved(names, self.rounds, turn)


def _in_turns(run: _Run, names: Sequence[str], log_dir: Path) -> None:
    """Measure everybody who stands in front of plain engines."""
    run.report(f"starting {ENGINES} vLLM engines")
    with plain_engines(log_dir) as servers:
        ports = [engine.port for engine in servers]
        engines = [Target("127.0.0.1", port, "", MODEL) for port in ports]

        def chats(name: str, load: ChatLoad) -> ChatsSeen:
            empty_caches(engines)
            if name in PINNED:
                return run_chats_by_group(engines[: PINNED[name]], load)
            with gateway(name, ports, log_dir) as server:
                return run_chats(Target("127.0.0.1", server.port, "", MODEL), load)

        run.rounds_of(names, chats)


def _ray_serve_llm(run: _Run, log_dir: Path) -> None:
    """Measure Ray Serve LLM. It goes on between rounds: new words find nothing of the last round's in its caches."""
    run.report(f"starting Ray Serve LLM with {ENGINES} vLLM replicas")
    with ray_serve_llm(log_dir) as server:
        target = Target("127.0.0.1", server.port, "", MODEL)
        run.rounds_of((RAY_SERVE_LLM,), lambda _name, load: run_chats(target, load))


def _cluster(run: _Run, name: str, policy: str) -> None:
    """Measure our whole cluster. It goes on between rounds, as Ray Serve LLM does."""
    run.report(f"starting a cluster of {ENGINES} vLLM replicas, {policy}")
    with routed_cluster(policy, lambda _progress: None) as target:
        run.rounds_of((name,), lambda _name, load: run_chats(target, load))


def engine_bars(measured: EngineRouting) -> list[Bar]:
    """Return the bars of the gateway alone and, where it ran, of the cluster.

    Figures are medians of the rounds: six at least, by which ours and a peer make six pairs.
    """
    figures = measured.figures
    ttft_s = {name: row["ttft_mean"].median for name, row in figures.items()}
    best_peer_s = min(ttft_s[name] for name in PEERS)
    bars = []
    for name, ours in (("engines", OURS), ("cluster", CLUSTER)):
        if ours in figures:
            bars += [
                Bar(f"{name}_mean_ttft_vs_better_peer", ttft_s[ours] / best_peer_s, "<=", 0.95),
                Bar(f"{name}_cached_share", figures[ours]["cached_share"].median, ">=", 0.80),
            ]
    return [*bars, Bar("engines_mean_ttft_vs_no_gateway", ttft_s[OURS] / ttft_s[NO_GATEWAY], "<=", 1.05)]


def engine_table(figures: Figures, load: ChatLoad) -> Table:
    """Return the comparison; TTFT and rate are medians of the rounds."""
    table = Table(
        title=f"{ENGINES} vLLM replicas on CPU: {load.chats} chats of {load.turns} turns in {load.groups} groups, "
        f"{load.at_a_time} at a time",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("", no_wrap=True)
    for heading in ("TTFT mean, s", "p90, s", "tokens/s", "cached"):
        table.add_column(heading, justify="right")
    for name, row in figures.items():
        table.add_row(
            name,
            f"{row['ttft_mean'].median:.3f}",
            f"{row['ttft_p90'].median:.3f}",
            f"{row['rate'].median:.1f}",
            f"{row['cached_share'].median:.3f}",
        )
    return table


def engine_json(measured: EngineRouting, load: ChatLoad) -> Mapping[str, object]:
    """Return everything for the result file."""
    return {
        "load": {name: getattr(load, name) for name in ChatLoad.__slots__},
        "contestants": {
            name: {figure: value.as_json() for figure, value in row.items()} for name, row in measured.figures.items()
        },
    }
