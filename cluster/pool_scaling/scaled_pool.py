"""One pool of a model as autoscaling sees it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.autoscaling.targets import AutoscalingTargets
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
