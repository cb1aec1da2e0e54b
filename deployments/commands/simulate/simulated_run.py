"""One simulated run as it is shown: its figures, the cluster over time, and how latencies are distributed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from deployments.twin.answer import TwinAnswer, answer
from deployments.twin.cluster import Cluster
from deployments.twin.records import ClusterMoment, Numbers
from deployments.twin.run import TwinRun

SHARES: Final = tuple(float(share) for share in (*np.linspace(0.0, 0.98, 99), *np.linspace(0.98, 1.0, 81)[1:]))
"""Shares of the requests at which the curves of latencies are drawn: close together where they are steep."""


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One run.

    Attributes:
        name: what it is called: a file, or a value of a sweep.
        answer: its figures.
        moments: the cluster over time.
        ttft_s: seconds to the first token that each share of `SHARES` of the requests did not exceed.
        tpot_s: the same of seconds between two tokens.
        cpu_s: seconds of CPU that the run took.
    """

    name: str
    answer: TwinAnswer
    moments: Sequence[ClusterMoment]
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    cpu_s: float

    @classmethod
    def of(cls, name: str, cluster: Cluster, run: TwinRun, cpu_s: float) -> "SimulatedRun":
        """Return a finished run."""
        columns = run.records.columns()
        return cls(
            name,
            answer(cluster, run),
            tuple(run.timeline.moments),
            _curve(columns.ttft_s),
            _curve(columns.tpot_s),
            cpu_s,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return its figures as plain JSON values; the CPU time is left out, so that equal runs give equal text."""
        return {"name": self.name, **self.answer.as_dict()}


def _curve(values: Numbers) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, SHARES)) if len(values) else ()
