"""The contract of an autoscaling policy."""

from typing import Protocol, TypeVar

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics import FleetMetrics

StateT = TypeVar("StateT")


class AutoscalingPolicy(Protocol[StateT]):
    """Decides from a state, what is known now and the time; keeps nothing itself, so a run can be replayed."""

    name: str

    def initial(self, replicas: int) -> StateT:
        """Return the state of a model that has `replicas` replicas and no past."""
        ...

    def decide(self, state: StateT, metrics: FleetMetrics, now_s: float) -> tuple[StateT, ScalingDecision]:
        """Return the next state and the decision; call every second or so, with `now_s` never going back."""
        ...
