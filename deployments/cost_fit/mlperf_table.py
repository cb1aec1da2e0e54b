"""MLPerf's offline results beside what the cost model foresees of their runs, as a table in Markdown."""

from collections.abc import Iterable
from statistics import median
from typing import Final

from cluster.foresight.mlperf_rows import PUBLISHED_ROWS, PublishedRow

MEDIAN_ERROR: Final = 0.15
LARGEST_ERROR: Final = 0.35


def mlperf_lines(rows: Iterable[PublishedRow] = PUBLISHED_ROWS) -> list[str]:
    """Return the rows, and how they stand to the bars."""
    found = [(row, row.predicted_tokens_per_s_per_gpu) for row in rows]
    errors = [foreseen / row.tokens_per_s_per_gpu - 1 for row, foreseen in found]
    sizes = [abs(error) for error in errors]
    return [
        "| submission | published tokens/s/GPU | foreseen | error |",
        "|---|---|---|---|",
        *(
            f"| {row.entry}, {row.model} on {row.hardware} | {row.tokens_per_s_per_gpu:,.1f} | {foreseen:,.1f} | "
            f"{error:+.1%} |"
            for (row, foreseen), error in zip(found, errors, strict=True)
        ),
        "",
        f"Median {median(sizes):.3f} (bar {MEDIAN_ERROR}), largest {max(sizes):.3f} (bar {LARGEST_ERROR}).",
    ]
