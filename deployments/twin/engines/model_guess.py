"""What a model's entry in the cluster file does not say of its engines."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.model_shapes.precision import PRECISIONS
from cluster.spec.parts.part import Part
from deployments.twin.engines.measured_times import MeasuredSteps


class ModelGuess(Part):
    """What a model's entry in the cluster file does not say of its engines.

    Attributes:
        config: the model's `config.json`, or its folder; unset: the model is a known one, or its source a folder.
        hardware: kind of GPU; unset: the one that the pool's `accelerator` names.
        precision: number format of the weights; unset: that of the checkpoint.
        measured: its steps, where they were measured; unset: they are what the planner's cost model says.
        start_s: seconds from a replica's place until it is ready; unset: `autoscaling.expected_start_seconds`.
    """

    config: str = ""
    hardware: str = ""
    precision: str = ""
    measured: MeasuredSteps | None = None
    start_s: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _precision_is_known(self) -> Self:
        if self.precision and self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; there are: {', '.join(PRECISIONS)}")
        return self
