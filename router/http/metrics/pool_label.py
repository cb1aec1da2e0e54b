"""The label `pool`, which only metrics of a model with pools have."""

from typing import Final

POOL: Final = "pool"
"""The label's name: always the last of a metric's, so that a row without a pool just lacks its value."""


def pool_label(pool: str) -> list[str]:
    """Return the value of a row's label `pool`; none, and with it no label, for a pool without a name."""
    return [pool] if pool else []
