"""An autoscaling policy that never changes the number of replicas, to compare others with."""

from cluster.autoscaling.decision import ScalingDecision
from cluster.autoscaling.metrics.metrics import FleetMetrics


class FixedFleet:
    """Always asks for the same number of replicas.

    Args:
        replicas: that number.
    """

    name = "fixed"

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def initial(self, replicas: int) -> int:
        """Return `replicas`: the only state is the number of replicas asked for before."""
        return replicas

    def decide(self, state: int, metrics: FleetMetrics, now_s: float) -> tuple[int, ScalingDecision]:
        """Return the fixed number as next state and as decision."""
        return self._replicas, ScalingDecision(now_s, self._replicas, state, ("fixed",), metrics)
