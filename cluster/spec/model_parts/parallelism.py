"""How one replica is divided over GPUs."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.spec.parts.part import Part


class Parallelism(Part):
    """How one replica is divided over GPUs: it takes `tensor * pipeline * data` of them.

    Attributes:
        tensor: GPUs that share each layer's matrices.
        pipeline: stages that the layers are divided into.
        data: ranks that compute attention for different sequences and share the experts of a mixture. Each has a batch
            and a prefix cache of its own, and the gateway picks one for each request.
        expert: GPUs over which a layer's whole experts are distributed: all `tensor * data` of a stage; 1: every expert
            is split over the `tensor` GPUs.
    """

    tensor: Annotated[int, Field(ge=1, le=1024)] = 1
    pipeline: Annotated[int, Field(ge=1, le=128)] = 1
    data: Annotated[int, Field(ge=1, le=1024)] = 1
    expert: Annotated[int, Field(ge=1, le=4096)] = 1

    @model_validator(mode="after")
    def _experts_take_a_stage(self) -> Self:
        stage = self.tensor * self.data
        if self.expert not in {1, stage}:
            raise ValueError(
                f"expert is {self.expert}, but experts are dealt to all tensor * data = {stage} GPUs of a stage; "
                f"give {stage}, or leave it out"
            )
        return self

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline * self.data

    @property
    def experts_whole(self) -> bool:
        """Whether each GPU holds whole experts."""
        return self.expert > 1
