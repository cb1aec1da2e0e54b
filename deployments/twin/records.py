"""What came of the requests of a run, one number of each kind for each request, and of the fleet over time."""

from array import array
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

MOST_MOMENTS: Final = 1200
"""Points of the timeline above which every other one is dropped, and from then on half as many are taken."""

Numbers = npt.NDArray[np.float64]


class Records:
    """The finished and refused requests, in the order of their ends.

    72 bytes a request are kept, so a million of them are 72 MB.

    Attributes:
        refused: number of refused requests by model's number, tenant and outcome.
        resent: requests that were sent again because their replica was lost.
        waiting_peak: most requests that waited at once in all gateways.
    """

    def __init__(self) -> None:
        self.refused: dict[tuple[int, str, str], int] = {}
        self.resent = 0
        self.waiting_peak = 0
        self._tenants: dict[str, int] = {}
        self._replicas: dict[str, int] = {}
        self._times = [array("d") for _ in range(6)]
        self._counts = [array("i") for _ in range(6)]

    def __len__(self) -> int:
        return len(self._times[0])

    def refuse(self, model: int, tenant: str, outcome: str) -> None:
        """Count a refused request."""
        key = model, tenant, outcome
        self.refused[key] = self.refused.get(key, 0) + 1

    def finish(  # noqa: PLR0913, PLR0917 - what is kept of a request; for each one
        self,
        model: int,
        tenant: str,
        arrived_s: float,
        dispatched_s: float,
        begun_s: float,
        fetched_s: float,
        first_s: float,
        last_s: float,
        prompt_tokens: int,
        cached_tokens: int,
        output_tokens: int,
        replica: str,
        *,
        held_cold: bool,
    ) -> None:
        """Keep a request that was answered."""
        times, counts = self._times, self._counts
        times[0].append(arrived_s)
        times[1].append(dispatched_s)
        times[2].append(begun_s)
        times[3].append(fetched_s)
        times[4].append(first_s)
        times[5].append(last_s)
        counts[0].append(prompt_tokens)
        counts[1].append(cached_tokens)
        counts[2].append(output_tokens)
        counts[3].append(model << 1 | held_cold)
        counts[4].append(self._tenants.setdefault(tenant, len(self._tenants)))
        counts[5].append(self._replicas.setdefault(replica, len(self._replicas)))

    @property
    def tenants(self) -> list[str]:
        """The tenants, by the number in `Columns.tenant`."""
        return list(self._tenants)

    @property
    def replicas(self) -> list[str]:
        """The replicas that answered, by the number in `Columns.replica`."""
        return list(self._replicas)

    def columns(self) -> "Columns":
        """Return the answered requests as columns."""
        arrived, dispatched, begun, fetched, first, last = (np.frombuffer(each, np.float64) for each in self._times)
        prompt, cached, output, models, tenant, replica = (np.frombuffer(each, np.intc) for each in self._counts)
        return Columns(
            arrived, dispatched, begun, fetched, first, last, prompt, cached, output, models >> 1,
            (models & 1).astype(bool), tenant, replica,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Columns:
    """The answered requests of a run. Times are seconds from its start.

    Attributes:
        arrived_s: when each came.
        dispatched_s: when it was first sent to a replica.
        begun_s: when an engine first took it into its batch.
        fetched_s: seconds in which its blocks went from one replica to another.
        first_s: when its first token came.
        last_s: when its last token came.
        prompt: tokens of its prompt.
        cached: those of them that were cached.
        output: tokens of its answer.
        model: number of its model.
        held_cold: when it came no replica of its model took requests.
        tenant: number of its tenant.
        replica: number of the replica that answered it.
    """

    arrived_s: Numbers
    dispatched_s: Numbers
    begun_s: Numbers
    fetched_s: Numbers
    first_s: Numbers
    last_s: Numbers
    prompt: npt.NDArray[np.intc]
    cached: npt.NDArray[np.intc]
    output: npt.NDArray[np.intc]
    model: npt.NDArray[np.intc]
    held_cold: npt.NDArray[np.bool_]
    tenant: npt.NDArray[np.intc]
    replica: npt.NDArray[np.intc]

    @property
    def ttft_s(self) -> Numbers:
        """Seconds to the first token."""
        return self.first_s - self.arrived_s

    @property
    def tpot_s(self) -> Numbers:
        """Mean seconds between two tokens of the answer; 0 for an answer of one token."""
        return np.asarray((self.last_s - self.first_s) / np.maximum(1, self.output - 1), np.float64)

    def only(self, which: npt.NDArray[np.bool_]) -> "Columns":
        """Return the requests for which `which` is true."""
        return Columns(*(getattr(self, name)[which] for name in Columns.__slots__))


@dataclass(frozen=True, slots=True)
class ClusterMoment:
    """The cluster at one moment.

    Attributes:
        at_s: its time, seconds from the start.
        arrived: requests that came so far.
        waiting: requests that wait in gateways.
        in_flight: requests on replicas.
        ready: replicas that take requests.
        starting: replicas that are ordered and not ready.
        gpus: GPUs of all replicas that have their machines.
    """

    at_s: float
    arrived: int
    waiting: int
    in_flight: int
    ready: int
    starting: int
    gpus: int


@dataclass(slots=True)
class Timeline:
    """The cluster over time, with at most `MOST_MOMENTS` points.

    Attributes:
        every_s: seconds between two points.
        due_s: when the next one is due.
        moments: the points.
        marks: pairs of a time and what happened then: losses, returns, updates, other targets.
    """

    every_s: float = 1.0
    due_s: float = 0.0
    moments: list[ClusterMoment] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)

    def add(self, moment: ClusterMoment) -> None:
        """Take a point."""
        self.moments.append(moment)
        if len(self.moments) >= MOST_MOMENTS:
            del self.moments[1::2]
            self.every_s *= 2
        self.due_s = moment.at_s + self.every_s
