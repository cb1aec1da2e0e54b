"""A fleet that never changes."""

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics import FleetMetrics


class FixedFleet:
    """Always the same number of replicas."""

    name = "fixed"

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def initial(self, replicas: int) -> int:
        """Return the number there is."""
        return replicas

    def decide(self, state: int, metrics: FleetMetrics, now_s: float) -> tuple[int, ScalingDecision]:
        """Return the fixed number."""
        return self._replicas, ScalingDecision(now_s, self._replicas, state, ("fixed",), metrics)
