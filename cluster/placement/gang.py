"""A gang: the GPUs of one replica, which start and die together."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gang:
    """What one replica needs.

    Ranks are numbered as vLLM numbers them: data-parallel rank, then pipeline stage, then position in the tensor group.

    Attributes:
        name: unique in a placement.
        model: that it is a replica of.
        tensor: GPUs in each tensor-parallel group.
        pipeline: stages.
        data: data-parallel ranks.
        experts_whole: ranks of a stage share whole experts, so the stage must stay in one domain.
        accelerator: the kind of GPU it needs; "": any.
    """

    name: str
    model: str
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    experts_whole: bool = False
    accelerator: str = ""

    def __post_init__(self) -> None:
        if min(self.tensor, self.pipeline, self.data) < 1:
            raise ValueError(f"gang {self.name!r}: sizes are at least 1")

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return self.tensor * self.pipeline * self.data

    @property
    def unit_gpus(self) -> int:
        """GPUs that must share a domain."""
        return self.tensor * self.data if self.experts_whole else self.tensor

    @property
    def units(self) -> int:
        """How many such groups there are."""
        return self.gpus // self.unit_gpus

    def tensor_groups(self) -> Iterator[tuple[int, range]]:
        """Yield (unit, ranks) of each tensor group, unit by unit."""
        stages = [(data, stage) for data in range(self.data) for stage in range(self.pipeline)]
        if self.experts_whole:
            stages.sort(key=lambda place: place[1])
        for position, (data, stage) in enumerate(stages):
            first = (data * self.pipeline + stage) * self.tensor
            unit = stage if self.experts_whole else position
            yield unit, range(first, first + self.tensor)


@dataclass(frozen=True, slots=True)
class PlacedGang:
    """A gang and where it is.

    Attributes:
        gang: what was placed.
        nodes: by rank, the node that its GPU is on: the placement group's bundles, one GPU each, in order.
    """

    gang: Gang
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why a gang cannot be placed.

    Attributes:
        gang: that waits.
        message: in words.
        unit_gpus: GPUs it needs in one domain.
        units: how many such groups.
        room_for: of them at most could be placed now.
        best_domain: with the most GPUs free; "" if there is none of the kind it needs.
        best_free: GPUs free there.
    """

    gang: Gang
    message: str
    unit_gpus: int
    units: int
    room_for: int
    best_domain: str
    best_free: int
