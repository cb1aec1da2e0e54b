"""How slow this machine is at the moment, for tests that promise something within a time."""

import time
from typing import Final

ROUNDS: Final = 3
STEPS: Final = 250_000
REFERENCE_S: Final = 0.025
"""Seconds that `STEPS` take on an idle core of the machine on which the tests' limits were set."""


def slowness() -> float:
    """Return the seconds of a piece of work over what it takes on the reference machine, at least 1.

    A limit in seconds times this holds on slow machines and on busy ones: the work's seconds are the clock's, so that
    waiting for a core counts.
    """
    began_s = time.perf_counter()
    for _ in range(ROUNDS):
        total = 0
        for step in range(STEPS):
            total += step * step
    return max(1.0, (time.perf_counter() - began_s) / (ROUNDS * REFERENCE_S))
