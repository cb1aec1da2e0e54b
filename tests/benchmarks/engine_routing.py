"""Real engines behind one gateway after another: the same chats through ours, policy by policy, and through peers."""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.benchmarks.bars import Bar
from tests.benchmarks.grouped_chats import ChatLoad, run_chats
from tests.benchmarks.one_replica_cluster import MODEL
from tests.benchmarks.peers import peer_command
from tests.benchmarks.plain_engines import ENGINES, empty_caches, plain_engines
from tests.benchmarks.rounds import Figures, interleaved
from tests.benchmarks.routed_cluster import RoutedCluster, routed_cluster
from tests.benchmarks.server_process import ServerProcess, free_port
from tests.benchmarks.token_streams import Target

POLICY: Final = "expected_ttft"
OURS: Final = f"rackserve {POLICY}"
BASELINE: Final = "rackserve round_robin"
PEERS: Final = ("vllm-router cache_aware",)
CLUSTER: Final = "rackserve cluster"
"""The whole cluster with our default policy, in front of replicas of its own that tell what they cache."""
CONTESTANTS: Final = (BASELINE, "rackserve least_load", OURS, *PEERS)


@dataclass(slots=True)
class EngineRouting:
    """What was measured.

    Attributes:
        figures: mean and p90 TTFT, tokens/s and cached share, by contestant, one a round.
        ttft_s: by contestant, of every request of the rounds that count.
    """

    figures: Figures = field(default_factory=dict)
    ttft_s: dict[str, list[float]] = field(default_factory=dict)


def measure_engines(rounds: int, load: ChatLoad, report: Callable[[str], None], *, with_cluster: bool) -> EngineRouting:
    """Send the chats through each contestant in turn, in front of the same engines, round after round.

    Before each turn the engines' caches are emptied and the contestant starts anew, so that nobody finds what another
    left behind. All contestants of a round send the same chats; each round has a seed of its own.

    A cluster goes on running between its turns.

    Raises:
        ClusterError: the cluster did not come up.
        PeerMissingError: a peer is not installed.
        RuntimeError: a server did not come up.
        BrokenStreamError: an answer was not complete.
    """
    measured = EngineRouting()
    with ExitStack() as stack:
        log_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-routing-")))
        report(f"starting {ENGINES} vLLM engines")
        ports = [engine.port for engine in stack.enter_context(plain_engines(log_dir))]
        engines = [Target("127.0.0.1", port, "", MODEL) for port in ports]
        cluster: RoutedCluster | None = None
        if with_cluster:
            report(f"starting a cluster of {ENGINES} vLLM replicas")
            cluster = stack.enter_context(routed_cluster(POLICY, lambda _progress: None))

        def turn(name: str, number: int) -> dict[str, tuple[float, str]]:
            # The warm-up round only has to make every part run once.
            shape = replace(load, seed=load.seed + number)
            if not number:
                shape = replace(shape, chats=load.at_a_time, turns=1)
            if cluster is not None and name == CLUSTER:
                empty_caches(cluster.replicas)
                seen = run_chats(cluster.gateway, shape)
            else:
                empty_caches(engines)
                with _contestant(name, ports, log_dir) as gateway:
                    seen = run_chats(Target("127.0.0.1", gateway.port, "", MODEL), shape)
            if number:
                measured.ttft_s.setdefault(name, []).extend(seen.ttft_s)
            figures = seen.figures()
            shown = ", ".join(f"{figure} {value:.3f}" for figure, (value, _) in figures.items())
            report(f"round {number} of {rounds}, {name}: {shown}")
            return figures

        names = (*CONTESTANTS, CLUSTER) if with_cluster else CONTESTANTS
        measured.figures = interleaved(names, rounds, turn)
    return measured


def _contestant(name: str, ports: Sequence[int], log_dir: Path) -> ServerProcess:
    """Start a contestant in front of the engines."""
    who, policy = name.split()
    port = free_port()
    urls = [f"http://127.0.0.1:{engine}" for engine in ports]
    if who == "rackserve":
        command = [str(Path(sys.executable).with_name("rackserve")), "gateway", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--admin-port", "0", "--policy", policy]
        command += [word for url in urls for word in ("--replica", url)]
    else:
        command = [peer_command(who, who), "--log-level", "warning", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--prometheus-port", str(free_port()), "--policy", policy, "--worker-urls", *urls]
    ready = "/ready" if who == "rackserve" else "/health"
    return ServerProcess(name.replace(" ", "-"), command, port=port, log_dir=log_dir, ready_path=ready)


def engine_bars(figures: Figures) -> list[Bar]:
    """Return the bars of the gateway alone and, where it ran, of the cluster; figures are medians of the rounds."""
    ttft_s = {name: row["ttft_mean"].median for name, row in figures.items()}
    best_peer_s = min(ttft_s[name] for name in PEERS)
    bars = []
    for name, ours in (("engines", OURS), ("cluster", CLUSTER)):
        if ours in figures:
            bars += [
                Bar(f"{name}_mean_ttft_vs_round_robin", ttft_s[ours] / ttft_s[BASELINE], "<=", 0.6),
                Bar(f"{name}_mean_ttft_vs_better_peer", ttft_s[ours] / best_peer_s, "<=", 0.9),
                Bar(f"{name}_cached_share", figures[ours]["cached_share"].median, ">=", 0.80),
            ]
    return bars


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
