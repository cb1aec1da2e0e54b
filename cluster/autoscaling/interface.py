"""The interface of autoscaling policies."""

from typing import Protocol, TypeVar

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics.metrics import FleetMetrics

StateT = TypeVar("StateT")


class AutoscalingPolicy(Protocol[StateT]):
    """Decides from a state, the latest metrics and the time; it keeps nothing itself, so a run can be replayed.

    Attributes:
        name: name of the policy.
    """

    name: str

    def initial(self, replicas: int) -> StateT:
        """Return the first state of a model with `replicas` replicas."""
        ...

    def decide(self, state: StateT, metrics: FleetMetrics, now_s: float) -> tuple[StateT, ScalingDecision]:
        """Return the next state and the decision; call about once a second, with `now_s` never going back.

        Args:
            state: the state that the last call returned.
            metrics: the latest metrics.
            now_s: the time, monotonic seconds.
        """
        ...
