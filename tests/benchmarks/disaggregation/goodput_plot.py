"""The picture of `bench-disaggregation`: each contestant's goodput beside the best rule's, for each workload."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from tests.benchmarks.disaggregation.contest import OURS, RULES, Contest

_WIDTH = 0.2


def plot_goodput(outcomes: Sequence[Contest], path: Path) -> Path:
    """Draw goodput over the best rule's, TTFT and gaps below it; return the image's path, in a folder that exists."""
    names = [outcome.load.name for outcome in outcomes]
    figure, axes = plt.subplots(3, 1, figsize=(1.5 + 1.1 * len(names), 9.0), layout="constrained", sharex=True)
    for number, contestant in enumerate((*RULES, OURS)):
        places, goodputs, ttfts, gaps = [], [], [], []
        for at, outcome in enumerate(outcomes):
            reached = outcome.reached.get(contestant)
            if reached is None or reached.goodput.run is None:
                continue
            run = reached.goodput.run
            places.append(at + (number - 1.5) * _WIDTH)
            goodputs.append(reached.goodput.per_s / outcome.per_s(outcome.best_rule))
            ttfts.append(run.mean_ttft_s)
            gaps.append(1e3 * run.gap_s(0.99))
        for axis, values in zip(axes, (goodputs, ttfts, gaps), strict=True):
            axis.bar(places, values, _WIDTH, label=contestant)
    axes[0].axhline(1.0, color="black", linewidth=0.8)
    axes[0].set(ylabel="goodput over the best rule's")
    axes[1].set(ylabel="mean TTFT at it, s", yscale="log")
    axes[2].set(ylabel="p99 gap between tokens, ms")
    axes[2].set_xticks(range(len(names)), names, rotation=30, ha="right")
    for axis in axes:
        axis.grid(alpha=0.3, axis="y")
    axes[0].legend(fontsize="small", ncols=4)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path
