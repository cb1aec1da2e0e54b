"""Which core runs what: the server that is measured alone on one, everything that loads it on another."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of one measurement.

    Attributes:
        measured: the core of the server that is measured.
        load: the core of the load client and of the engines.
    """

    measured: int
    load: int


def choose_cores() -> Cores:
    """Return the last core for what is measured and the first for the load.

    Raises:
        RuntimeError: there is only one core; client and server would disturb each other.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        raise RuntimeError("this benchmark needs 2 cores: one for the gateway, one for client and engines; here is 1")
    return Cores(measured=usable[-1], load=usable[0])


def pinned(command: list[str], core: int) -> list[str]:
    """Return the command that runs `command`, its threads and children, on one core."""
    return ["taskset", "--cpu-list", str(core), *command]
