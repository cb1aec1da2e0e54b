"""One pool of a model as autoscaling sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.autoscaling.targets import AutoscalingTargets
from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role


@dataclass(frozen=True, slots=True)
class ScaledPool:
    """One pool: its role, bounds and aims. A pool of a fixed number of replicas has equal bounds.

    Attributes:
        name: its name; "": the model has one pool without a name.
        role: what its replicas do of a request.
        targets: the operator's bounds and aims.
    """

    name: str
    role: Role
    targets: AutoscalingTargets

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "ScaledPool":
        """Return the pool that plain data describes: `{"name": …, "role": …, "targets": {…}}`."""
        return cls(data["name"], Role(data["role"]), AutoscalingTargets(**data["targets"]))


def autoscaling_targets(model: ModelSpec) -> AutoscalingTargets:
    """Return the autoscaling targets of a model, or of a pool as `in_pools` gives it."""
    asked = model.autoscaling
    return AutoscalingTargets(
        min_replicas=model.replicas.min,
        max_replicas=model.replicas.max,
        target_queue_s=asked.target_queue_seconds,
        headroom=asked.headroom,
        scale_down_after_s=asked.scale_down_after_seconds,
        scale_to_zero_after_s=asked.scale_to_zero_after_seconds,
        longest_wait_s=model.max_wait_s,
        first_cold_start_s=asked.expected_start_seconds,
        first_work_per_s=asked.work_per_replica,
        slo_share=model.slo.share if model.slo.is_set else 0.0,
    )
