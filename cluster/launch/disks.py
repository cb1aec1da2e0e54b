"""Disks of a cloud's machines: as large as the file says, or as the models' weights need."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from cluster.errors import SpecProblem
from cluster.spec.launch_spec import AwsWorkers, GcpWorkers, LaunchSpec, OnPremLaunch

SYSTEM_GIB: Final = 100
"""GiB of a worker's disk beside the weights: the image, RackServe's environment, compiled kernels, logs."""


def needed_gib(weights_bytes: int) -> int:
    """Return the GiB that a worker's disk must have for these weights."""
    return math.ceil(weights_bytes / 2**30) + SYSTEM_GIB


def worker_disk_gib(given: int | None, least: int, weights_bytes: int) -> int:
    """Return the GiB of a worker's disk.

    Args:
        given: `disk_gib` of its group.
        least: GiB in the provider's file.
        weights_bytes: what the models' weights take; 0: not known.
    """
    return given or max(least, needed_gib(weights_bytes))


def disk_problems(launch: LaunchSpec, known_bytes: int) -> Iterator[SpecProblem]:
    """Yield the groups whose `disk_gib` is too small for the weights.

    Args:
        launch: the machines.
        known_bytes: what the models of known size take together, as any machine may serve any of them.
    """
    if isinstance(launch, OnPremLaunch) or not known_bytes:
        return
    groups: Sequence[AwsWorkers | GcpWorkers] = launch.workers
    for position, group in enumerate(groups):
        if group.disk_gib is not None and group.disk_gib < needed_gib(known_bytes):
            yield SpecProblem(
                f"launch.workers[{position}].disk_gib",
                f"{group.disk_gib} GiB are too few: the models' weights take {known_bytes / 2**30:.0f} GiB, and the "
                f"system {SYSTEM_GIB}; give {needed_gib(known_bytes)} or more, or leave it out",
            )
