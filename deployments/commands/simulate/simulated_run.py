"""One simulated run as it is shown: its figures, the cluster over time, and how latencies are distributed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deployments.load.figures.curve import curve
from deployments.twin.answer import TwinAnswer, answer
from deployments.twin.cluster import Cluster
from deployments.twin.records import ClusterMoment
from deployments.twin.run import TwinRun


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """One run.

    Attributes:
        name: what it is called: a file, or a value of a sweep.
        answer: its figures.
        moments: the cluster over time.
        ttft_s: seconds to the first token that each share of `curve.SHARES` of the requests did not exceed.
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
            curve(columns.ttft_s),
            curve(columns.tpot_s),
            cpu_s,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return its figures as plain JSON values; the CPU time is left out, so that equal runs give equal text."""
        return {"name": self.name, **self.answer.as_dict()}
