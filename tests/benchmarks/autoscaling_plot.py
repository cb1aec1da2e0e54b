"""The picture of `bench-autoscaling`: load, queue and replicas over time, for each load."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from deployments.simulator.autoscaled_fleet import Moment
from tests.benchmarks.autoscaling_contest import FIXED, OURS, SERVE, Outcome

_SHOWN = (FIXED, OURS, SERVE)
_POINTS = 600


def plot_autoscaling(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Draw each load's column; return the image's path, in a folder that exists."""
    columns = len(outcomes)
    figure, axes = plt.subplots(
        3, columns, figsize=(5.5 * columns, 8.0), layout="constrained", squeeze=False, sharex="col"
    )
    for column, outcome in enumerate(outcomes):
        load, queue, replicas = (axes[row][column] for row in range(3))
        moments = _thinned(outcome.results[OURS].timeline)
        hours = [moment.at_s / 3600.0 for moment in moments]
        load.plot(hours, [moment.offered_per_s for moment in moments], color="black", linewidth=0.8)
        load.set(title=outcome.case.name, ylabel="requests/s")
        for name in _SHOWN:
            moments = _thinned(outcome.results[name].timeline)
            hours = [moment.at_s / 3600.0 for moment in moments]
            queue.plot(hours, [moment.waiting for moment in moments], label=name, linewidth=0.8)
            (line,) = replicas.step(hours, [moment.ready for moment in moments], label=name, where="post")
            ordered = [moment.ready + moment.starting for moment in moments]
            replicas.step(hours, ordered, where="post", color=line.get_color(), linestyle=":", linewidth=0.8)
        queue.set(ylabel="requests waiting in the gateway")
        replicas.set(ylabel="replicas ready (dotted: ordered)", xlabel="hours", ylim=(0, None))
        for row in (load, queue, replicas):
            row.grid(alpha=0.3)
        queue.legend(fontsize="small")
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return path


def _thinned(moments: Sequence[Moment]) -> Sequence[Moment]:
    return moments[:: max(1, len(moments) // _POINTS)]
