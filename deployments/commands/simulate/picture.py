"""The picture of simulated runs: load, queue and replicas over time, and the distribution of latencies."""

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise

from cluster.errors import MissingPackageError
from deployments.commands.simulate.simulated_run import SimulatedRun
from deployments.load.figures.curve import SHARES


def picture(outcomes: Sequence[SimulatedRun]) -> bytes:
    """Return the runs as a PNG.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - it takes a second to load, and is not installed everywhere

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415 - as above
        from matplotlib.ticker import NullFormatter  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib: pip install 'rackserve[report]'") from error
    figure, axes = plt.subplots(2, 3, figsize=(15.0, 7.5), layout="constrained")
    load, queue, running = axes[0]
    replicas, first, token = axes[1]
    for outcome in outcomes:
        moments = outcome.moments
        minutes = [moment.at_s / 60.0 for moment in moments]
        rates = [
            (after.arrived - before.arrived) / max(1e-9, after.at_s - before.at_s)
            for before, after in pairwise(moments)
        ]
        load.plot(minutes[1:], rates, linewidth=0.8, label=outcome.name)
        queue.plot(minutes, [moment.waiting for moment in moments], linewidth=0.9)
        running.plot(minutes, [moment.in_flight for moment in moments], linewidth=0.9)
        (line,) = replicas.step(minutes, [moment.ready for moment in moments], where="post", linewidth=1.0)
        ordered = [moment.ready + moment.starting for moment in moments]
        replicas.step(minutes, ordered, where="post", linestyle=":", linewidth=0.9, color=line.get_color())
        for axis, values in ((first, outcome.ttft_s), (token, [value * 1e3 for value in outcome.tpot_s])):
            axis.plot(values, [100 * share for share in SHARES[: len(values)]], linewidth=1.0)
        for at_s, _ in outcome.answer.marks[:50]:
            replicas.axvline(at_s / 60.0, color=line.get_color(), alpha=0.15, linewidth=0.8)
    load.set(title="requests a second", xlabel="minutes", ylim=(0, None))
    queue.set(title="waiting in gateways", xlabel="minutes", ylim=(0, None))
    running.set(title="on replicas", xlabel="minutes", ylim=(0, None))
    replicas.set(title="replicas ready (dotted: ordered)", xlabel="minutes", ylim=(0, None))
    first.set(title="time to first token", xlabel="seconds", ylabel="% of answered requests")
    token.set(title="time per output token", xlabel="milliseconds", ylabel="% of answered requests")
    if all(min(outcome.ttft_s, default=0.0) > 0 for outcome in outcomes):
        first.set_xscale("log")
        first.xaxis.set_minor_formatter(NullFormatter())
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    load.legend(fontsize="small")
    written = BytesIO()
    figure.savefig(written, format="png", dpi=90, metadata={"Software": None})
    plt.close(figure)
    return written.getvalue()
