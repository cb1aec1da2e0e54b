"""The plot of `bench-gateway`: CPU time by shape and contestant, latency by percentile, memory over requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks.gateway.promises import better_peer_us
from tests.benchmarks.gateway.running import GatewayBench
from tests.benchmarks.gateway.shapes import LATENCY
from tests.benchmarks.rounds import Figures

_BAR_GROUP: Final = 0.8


def plot_gateway(bench: GatewayBench, path: Path) -> Path:
    """Draw what a run found.

    Args:
        bench: the run.
        path: where the image goes; its folder exists.
    """
    figure, (cpu, latency, memory) = plt.subplots(1, 3, figsize=(18, 5), width_ratios=(3, 1, 1), layout="constrained")
    _plot_cpu(cpu, {name: rows for name, rows in bench.figures.items() if name != LATENCY})
    _plot_latency(latency, bench.latency_us)
    memory.plot([sent for sent, _ in bench.memory], [rss / 2**20 for _, rss in bench.memory], marker=".")
    memory.set(xlabel="requests served", ylabel="resident memory, MiB", title="memory of our gateway", ylim=(0, None))
    memory.grid(alpha=0.3)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path


def _plot_cpu(axes: Axes, shapes: Mapping[str, Figures]) -> None:
    """Draw each contestant's CPU time as a multiple of the better peer's (of the first contestant's without peers)."""
    names = list(next(iter(shapes.values()), {}))
    for i, name in enumerate(names):
        at = [x + _BAR_GROUP * (i / len(names) - 0.5) for x in range(len(shapes))]
        ratios = []
        for rows in shapes.values():
            reference = better_peer_us(rows) or rows[names[0]]["cpu"].lowest
            ratios.append(rows[name]["cpu"].lowest / reference)
        axes.bar(at, ratios, _BAR_GROUP / len(names), align="edge", label=name)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(shapes)), list(shapes), fontsize="small")
    axes.set(ylabel="CPU time a request, over the better peer's", ylim=(0, 3))
    if names:
        axes.legend(fontsize="small", ncols=2)


def _plot_latency(axes: Axes, latency_us: Mapping[str, Sequence[float]]) -> None:
    for name, quantiles in latency_us.items():
        percents = [100 * i / (len(quantiles) - 1) for i in range(len(quantiles))]
        axes.plot(percents, [value / 1000 for value in quantiles], label=name)
    axes.set(yscale="log", xlabel="percentile", ylabel="latency, ms", title="40 words, 30 % of each gateway's core")
    axes.grid(alpha=0.3)
    if latency_us:
        axes.legend(fontsize="x-small")
