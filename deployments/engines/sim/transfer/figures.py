"""What `/metrics` says of transfers, with the names and buckets of vLLM's NIXL connector."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 5.0)
"""Upper bounds of `vllm:nixl_xfer_time_seconds`."""
BYTES: Final = tuple(2.0**power for power in range(11, 35, 2))
"""Upper bounds of `vllm:nixl_bytes_transferred`."""


class Distribution:
    """Counts values by buckets.

    Args:
        bounds: the buckets' upper bounds, increasing.

    Attributes:
        total: the sum of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Yield each bucket's bound, as Prometheus writes it, and how many values are not above it."""
        count = 0
        for bound, here in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            count += here
            yield bound, count


@dataclass(slots=True)
class TransferFigures:
    """Totals since the engine started.

    Attributes:
        seconds: how long each successful fetch took.
        bytes: how many bytes of KV cache each moved.
        failed: fetches that failed; their prompts were computed here.
        expired: prompts that nobody fetched before their lease was over.
        late: notices that a prompt had been fetched whose lease was over.
    """

    seconds: Distribution = field(default_factory=lambda: Distribution(SECONDS))
    bytes: Distribution = field(default_factory=lambda: Distribution(BYTES))
    failed: int = 0
    expired: int = 0
    late: int = 0
