"""Which gangs to place: those of a cluster file, or those of a gang file, written for a what-if question.

gangs:
- {name: r1, tensor: 8, pipeline: 2, replicas: 4}
- {name: oss, tensor: 1, data: 8, experts_whole: true, replicas: 3, accelerator: gb300}
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.placement.gang import Gang
from cluster.placement.gang_of_model import gang_of_model
from cluster.spec.checked_yaml import FileKind
from cluster.spec.cluster_spec import ClusterSpec
from cluster.spec.model_spec import ModelSpec
from cluster.spec.yaml_tree import Location


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gangs(_Part):
    """Equal gangs of one model.

    Attributes:
        name: name of the model; its gangs are `name#0`, `name#1`, ….
        replicas: number of gangs.
        tensor: GPUs in each tensor-parallel group.
        pipeline: number of pipeline stages.
        data: number of data-parallel ranks that share experts.
        experts_whole: whether the ranks of a stage share whole experts; a stage must then stay in one domain.
        accelerator: the kind of GPU they need; unset: any.
    """

    name: Annotated[str, Field(min_length=1, max_length=128)]
    replicas: Annotated[int, Field(ge=0, le=100_000)] = 1
    tensor: Annotated[int, Field(ge=1, le=1024)] = 1
    pipeline: Annotated[int, Field(ge=1, le=128)] = 1
    data: Annotated[int, Field(ge=1, le=1024)] = 1
    experts_whole: bool = False
    accelerator: str = ""


class GangFile(_Part):
    """A whole gang file."""

    gangs: Annotated[tuple[Gangs, ...], Field(min_length=1)]

    def each_gang(self) -> Iterator[Gang]:
        """Yield every gang."""
        for gangs in self.gangs:
            for number in range(gangs.replicas):
                yield Gang(
                    name=f"{gangs.name}#{number}",
                    model=gangs.name,
                    tensor=gangs.tensor,
                    pipeline=gangs.pipeline,
                    data=gangs.data,
                    experts_whole=gangs.experts_whole,
                    accelerator=gangs.accelerator,
                )


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    gangs = data.get("gangs")
    first_with_name: dict[str, int] = {}
    for position, entry in enumerate(gangs if isinstance(gangs, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str):
            first = first_with_name.setdefault(name, position)
            if first != position:
                yield ("gangs", position, "name"), f"{name!r} is already the name of gangs[{first}]; names are unique"


GANG_FILE: Final = FileKind(
    name="gang file",
    root=GangFile,
    needs="it needs a list of gangs",
    rules=_rules,
)


@dataclass(frozen=True, slots=True)
class GangsOfSpec:
    """The gangs of a cluster file.

    Attributes:
        gangs: one gang for each replica that needs GPUs.
        left_out: one line for each model, or pool of one, that needs no gang: its name and the reason.
    """

    gangs: tuple[Gang, ...]
    left_out: tuple[str, ...]


def gangs_of_spec(spec: ClusterSpec, at: Literal["min", "max"]) -> GangsOfSpec:
    """Return the gangs of a cluster file's models.

    Args:
        spec: the cluster file.
        at: count the replicas of each pool at their minimum (as the cluster starts) or at their maximum.
    """
    gangs: list[Gang] = []
    left_out: list[str] = []
    for model in spec.in_pools():
        reason = _why_no_gang(model)
        if reason:
            left_out.append(f"{model.label}: {reason}")
            continue
        replicas = model.replicas.min if at == "min" else model.replicas.max
        gangs += [_gang(model, number) for number in range(replicas)]
    return GangsOfSpec(tuple(gangs), tuple(left_out))


def _why_no_gang(model: ModelSpec) -> str:
    asked = model.gpus_per_replica
    if asked == 0 or (asked is None and model.engine == "sim" and model.parallel.gpus == 1):
        return "its replicas take no GPU"
    if asked is not None and asked < 1:
        return f"its replicas take {asked:g} of a GPU each, which Ray packs by itself"
    return ""


def _gang(model: ModelSpec, number: int) -> Gang:
    # Where Ray reserves several GPUs for a replica of one rank, they must be in one place, like a tensor group.
    gang = gang_of_model(model, f"{model.label}#{number}")
    return replace(gang, tensor=max(1, math.ceil(model.gpus_per_replica or 0))) if gang.gpus == 1 else gang
