"""How values are distributed, as a curve that can be drawn and kept."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SHARES: Final = tuple(float(share) for share in (*np.linspace(0.0, 0.98, 99), *np.linspace(0.98, 1.0, 81)[1:]))
"""Shares of the values at which a curve is drawn: close together where it is steep."""


def curve(values: Sequence[float] | NDArray[Any]) -> tuple[float, ...]:
    """Return what each share of `SHARES` of the values did not exceed; empty: there are none."""
    if not len(values):
        return ()
    return tuple(float(value) for value in np.quantile(np.asarray(values, np.float64), SHARES))
