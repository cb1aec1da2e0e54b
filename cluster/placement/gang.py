"""A gang: the GPUs of one replica, which start and die together."""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.spec.model_spec import label_of


@dataclass(frozen=True, slots=True)
class Gang:
    """The GPUs that one replica needs.

    Ranks are numbered as vLLM numbers them: data-parallel rank, then pipeline stage, then position in the tensor group.

    Attributes:
        name: unique name in a placement.
        model: name of the model it is a replica of.
        pool: name of the pool of that model; "": the model has one pool without a name.
        tensor: GPUs in each tensor-parallel group.
        pipeline: number of pipeline stages.
        data: number of data-parallel ranks.
        experts_whole: whether the ranks of a stage share whole experts; the stage must then stay in one domain.
        accelerator: the kind of GPU it needs; "": any.
    """

    name: str
    model: str
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    experts_whole: bool = False
    accelerator: str = ""
    pool: str = ""

    def __post_init__(self) -> None:
        if min(self.tensor, self.pipeline, self.data) < 1:
            raise ValueError(f"gang {self.name!r}: sizes are at least 1")

    @property
    def label(self) -> str:
        """What people call its model and pool; gangs of one label are equal."""
        return label_of(self.model, self.pool)

    @property
    def gpus(self) -> int:
        """All GPUs of the gang."""
        return self.tensor * self.pipeline * self.data

    @property
    def unit_gpus(self) -> int:
        """GPUs in one unit, which must share a domain: a tensor group, or a stage that shares whole experts."""
        return self.tensor * self.data if self.experts_whole else self.tensor

    @property
    def units(self) -> int:
        """Number of units in the gang."""
        return self.gpus // self.unit_gpus

    def tensor_groups(self) -> Iterator[tuple[int, range]]:
        """Yield the unit's number and the ranks of each tensor group, unit by unit."""
        stages = [(data, stage) for data in range(self.data) for stage in range(self.pipeline)]
        if self.experts_whole:
            stages.sort(key=lambda place: place[1])
        for position, (data, stage) in enumerate(stages):
            first = (data * self.pipeline + stage) * self.tensor
            unit = stage if self.experts_whole else position
            yield unit, range(first, first + self.tensor)


@dataclass(frozen=True, slots=True)
class PlacedGang:
    """A gang with the node of each of its GPUs.

    Attributes:
        gang: the gang.
        nodes: node of each rank's GPU, in rank order; the placement group has one bundle of one GPU for each.
    """

    gang: Gang
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why a gang cannot be placed.

    Attributes:
        gang: the gang that waits.
        message: the reason in words.
        unit_gpus: GPUs of one unit, which must share a domain.
        units: number of units the gang needs.
        room_for: number of units that could be placed now.
        best_domain: the domain with the most free GPUs; "" if none has the kind of GPU it needs.
        best_free: free GPUs in `best_domain`.
    """

    gang: Gang
    message: str
    unit_gpus: int
    units: int
    room_for: int
    best_domain: str
    best_free: int
