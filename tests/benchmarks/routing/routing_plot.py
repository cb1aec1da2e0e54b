"""The picture of `bench-routing`: cache hits and TTFT of every policy on the trace, and TTFT on real engines."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from deployments.simulator.replay import ReplayResult
from tests.benchmarks.routing.gateways import OURS
from tests.benchmarks.routing.simulated_engines import SimulatedRouting

_QUANTILES = ("p50", "p90", "p99")


def plot_routing(
    replays: Mapping[str, ReplayResult],
    pooled: float | None,
    simulated: SimulatedRouting,
    engines_ttft_s: Mapping[str, Sequence[float]],
    path: Path,
) -> Path | None:
    """Draw what was measured; return `path`, or None where nothing was.

    Args:
        replays: by policy; may be empty.
        pooled: hit ratio of one pooled cache of the replicas' total size; None: not known.
        simulated: what gateways came to on simulated engines; may be empty.
        engines_ttft_s: by contestant, the time to first token of each request on real engines; may be empty.
        path: where the image goes; its folder exists.
    """
    panels = 2 * bool(replays) + bool(simulated.figures) + bool(engines_ttft_s)
    if not panels:
        return None
    figure, axes = plt.subplots(1, panels, figsize=(5.5 * panels, 4.2), layout="constrained", squeeze=False)
    left = list(chain.from_iterable(axes))
    if replays:
        _hits(left.pop(0), replays, pooled)
        _quantiles(left.pop(0), replays)
    if simulated.figures:
        _over_ours(left.pop(0), simulated)
    if engines_ttft_s:
        _distribution(left.pop(0), engines_ttft_s)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path


def _hits(axes: Axes, replays: Mapping[str, ReplayResult], pooled: float | None) -> None:
    names = list(replays)[::-1]
    bars = axes.barh(names, [replays[name].hit_ratio for name in names])
    axes.bar_label(bars, fmt="%.3f", padding=3, fontsize="small")
    ideal = replays[names[0]].ideal_hit_ratio
    axes.axvline(ideal, color="black", linestyle="--", linewidth=1, label=f"one infinite cache: {ideal:.3f}")
    if pooled is not None:
        axes.axvline(pooled, color="gray", linestyle=":", linewidth=1, label=f"one pooled cache: {pooled:.3f}")
    axes.set(xlabel="prompt blocks found in the cache", title="trace replay: hits", xlim=(0, ideal * 1.25))
    axes.legend(fontsize="small", loc="lower right")


def _quantiles(axes: Axes, replays: Mapping[str, ReplayResult]) -> None:
    for name, result in replays.items():
        values = (result.ttft_p50_s, result.ttft_p90_s, result.ttft_p99_s)
        axes.plot(_QUANTILES, values, marker="o", label=f"{name} (mean {result.ttft_mean_s:.2f} s)")
    axes.set(yscale="log", ylabel="time to first token, s", title="trace replay: TTFT")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _over_ours(axes: Axes, simulated: SimulatedRouting) -> None:
    """Draw each contestant's mean TTFT over ours, shape by shape."""
    names = [case.name for case in simulated.figures]
    for name in next(iter(simulated.figures.values())):
        means = [
            figures[name]["ttft_mean"].median / figures[OURS]["ttft_mean"].median
            for figures in simulated.figures.values()
        ]
        axes.plot(means, names, marker="o", linestyle="", label=name)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="mean TTFT over ours", title="simulated engines: TTFT")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _distribution(axes: Axes, engines_ttft_s: Mapping[str, Sequence[float]]) -> None:
    for name, values in engines_ttft_s.items():
        shares = [100 * (i + 1) / len(values) for i in range(len(values))]
        axes.step(sorted(values), shares, where="post", label=name)
    axes.set(xlabel="time to first token, s", ylabel="% of requests", title="3 vLLM replicas: TTFT", xlim=(0, None))
    axes.legend(fontsize="small", loc="lower right")
    axes.grid(alpha=0.3)
