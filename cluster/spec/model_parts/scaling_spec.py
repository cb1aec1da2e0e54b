"""How many replicas: a number or a range, and how the number follows the load within a range."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import Field, model_validator

from cluster.spec.parts.part import Part, Seconds


class ReplicaCount(Part):
    """Number of replicas of a model; a plain number `n` in YAML means `{min: n, max: n}`."""

    min: Annotated[int, Field(ge=0, le=4096)] = 1
    max: Annotated[int, Field(ge=1, le=4096)] = 1

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"min": value, "max": value}
        if isinstance(value, Mapping) and "max" not in value and isinstance(value.get("min"), int):
            return {**value, "max": max(1, value["min"])}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} but max is {self.max}; min must not be above max")
        return self

    @property
    def is_autoscaled(self) -> bool:
        """Tell whether the number of replicas follows the load."""
        return self.min < self.max


class AutoscalingSpec(Part):
    """How a model is scaled whose `replicas` have a min below their max.

    Attributes:
        target_queue_seconds: seconds of work that may wait on a replica, on average, before more replicas are ordered.
        headroom: spare replicas for random peaks, as a multiple of the square root of the replicas that the load keeps
            busy.
        scale_down_after_seconds: seconds without need for a replica after which it is given back; with an `slo`, two
            usual starts if that is less.
        scale_to_zero_after_seconds: seconds without any request after which the last replica is given back (min 0).
        expected_start_seconds: seconds that a replica's start is assumed to take until one has been measured.
        work_per_replica: tokens a second that a replica completes at its limit, prompt and generated ones as flow
            control counts them, from a plan or a load test; 0: measured when requests first have to wait.
    """

    target_queue_seconds: Seconds = 1.0
    headroom: Annotated[float, Field(ge=0, le=100)] = 0.4
    scale_down_after_seconds: Seconds = 300.0
    scale_to_zero_after_seconds: Seconds = 300.0
    expected_start_seconds: Seconds = 60.0
    work_per_replica: Annotated[float, Field(ge=0)] = 0.0
