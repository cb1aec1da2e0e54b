"""The two curves of `bench-gateway`: latency by percentile, and memory over requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt


def plot_gateway(latency_us: Mapping[str, Sequence[float]], memory: Sequence[tuple[int, int]], path: Path) -> Path:
    """Draw both curves.

    Args:
        latency_us: by contestant, the quantiles 0, 0.5, … 100 percent.
        memory: (requests so far, resident bytes).
        path: where the image goes; its folder exists.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, quantiles in latency_us.items():
        percents = [100 * i / (len(quantiles) - 1) for i in range(len(quantiles))]
        left.plot(percents, [value / 1000 for value in quantiles], label=name)
    left.set(yscale="log", xlabel="percentile", ylabel="latency, ms", title="400 requests/s, 40-word prompts")
    left.legend(fontsize="small")
    left.grid(alpha=0.3)
    right.plot([sent for sent, _ in memory], [rss / 2**20 for _, rss in memory], marker=".")
    right.set(xlabel="requests served", ylabel="resident memory, MiB", title="memory of the gateway", ylim=(0, None))
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path
