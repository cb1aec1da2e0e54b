"""The table of metrics in `router/http/metrics/README.md`, which code, dashboards and alerts are held against."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

METRICS_README: Final = Path(__file__).resolve().parents[1] / "router" / "http" / "metrics" / "README.md"


@dataclass(frozen=True, slots=True)
class DocumentedMetric:
    """One row of the table.

    Attributes:
        name: as it is scraped.
        kind: `counter`, `gauge` or `histogram`.
        labels: their names, in order.
        text: the help text.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def documented_metrics() -> dict[str, DocumentedMetric]:
    """Return the table's rows by name."""
    rows = re.findall(
        r"^\| `(rackserve_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", METRICS_README.read_text(), re.MULTILINE
    )
    return {
        name: DocumentedMetric(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
        for name, kind, labels, text in rows
    }
