"""The picture of runs: latencies as distributions, and over time what was sent, came back and was under way."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final

import numpy as np

from cluster.errors import MissingPackageError
from deployments.load.figures.curve import SHARES, curve
from deployments.load.figures.run_file import RunFile

_POINTS: Final = 120
"""Points of a curve over time."""


def pyplot() -> Any:  # noqa: ANN401 - a module that is loaded only where it is asked for
    """Return what draws: matplotlib's module.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - it takes a second to load, and is not installed everywhere

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415 - as above
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib: pip install 'rackserve[bench]'") from error
    return plt


def picture(runs: Sequence[RunFile]) -> bytes:
    """Return runs as a PNG.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(2, 3, figsize=(15.0, 7.5), layout="constrained")
    for run in runs:
        _draw(axes, run)
    titles = (
        ("time to first token", "ms", "% of answers"),
        ("time per output token", "ms", "% of answers"),
        ("between two events with tokens", "ms", "% of gaps"),
        ("time to first token, by when it was sent", "s", "ms"),
        ("output tokens a second", "s", ""),
        ("under way", "s", "requests"),
    )
    for axis, (title, along, up) in zip(axes.flat, titles, strict=True):
        axis.set(title=title, xlabel=along, ylabel=up)
        axis.grid(alpha=0.3)
        axis.set_ylim(0, None)
    axes.flat[0].legend(fontsize="small")
    written = BytesIO()
    figure.savefig(written, format="png", dpi=90, metadata={"Software": None})
    plt.close(figure)
    return written.getvalue()


def _draw(axes: Any, run: RunFile) -> None:  # noqa: ANN401 - an array of matplotlib's axes
    first, token, gap, over_time, tokens, under_way = axes.flat
    whole = [record for record in run.measured if record.is_answered]
    if not whole:
        return
    shares = [100 * share for share in SHARES]
    ttft_ms = [record.ttft_s * 1e3 for record in whole]
    (line,) = first.plot(curve(ttft_ms), shares, linewidth=1.0, label=run.name)
    tpot_ms = [record.tpot_s * 1e3 for record in whole if record.tpot_s is not None]
    colour = line.get_color()
    if tpot_ms:
        token.plot(curve(tpot_ms), shares, linewidth=1.0, color=colour)
    if run.gap_curve_s:
        gap.plot([value * 1e3 for value in run.gap_curve_s], shares, linewidth=1.0, color=colour)
    for axis, limit_s in ((first, run.slo_ttft_s), (token, run.slo_tpot_s)):
        if limit_s is not None:
            axis.axvline(limit_s * 1e3, color=colour, linestyle=":", linewidth=0.9)
    over_time.plot([record.sent_s for record in whole], ttft_ms, ".", markersize=2.5, alpha=0.6, color=colour)
    end_s = max(record.last_s for record in run.measured)
    edges = np.linspace(0.0, max(end_s, 1e-9), _POINTS + 1)
    counts, _ = np.histogram(
        [record.last_s for record in whole], edges, weights=[record.output_tokens for record in whole]
    )
    tokens.step(edges[:-1], counts / np.diff(edges), where="post", linewidth=0.9, color=colour)
    sent = np.sort([record.sent_s for record in run.measured])
    ended = np.sort([record.last_s for record in run.measured])
    open_at = np.searchsorted(sent, edges, "right") - np.searchsorted(ended, edges, "right")
    under_way.step(edges, open_at, where="post", linewidth=0.9, color=colour)
