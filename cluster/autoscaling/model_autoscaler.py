"""The autoscaler of one model as it runs: figures in, decisions out, the last of them kept."""

from cluster.autoscaling.autoscaler import Autoscaler
from cluster.autoscaling.decision import DecisionHistory, ScalingDecision
from cluster.autoscaling.fleet_figures import FleetFigures
from cluster.autoscaling.scaling_view import ScalingView
from cluster.autoscaling.targets import AutoscalingTargets

DECIDE_EVERY_S = 0.05
"""Two decisions are no closer together than this: several gateways tell at different moments."""


class ModelAutoscaler:
    """Decides as of the last moment that all gateways have told of; while none tells, the target stays.

    Args:
        targets: bounds and aims.
        replicas: how many there are, or have been asked for.

    Attributes:
        figures: what gateways and replicas told.
        history: the last decisions.
    """

    def __init__(self, targets: AutoscalingTargets, replicas: int) -> None:
        self.figures = FleetFigures()
        self.history = DecisionHistory()
        self._policy = Autoscaler(targets)
        self._state = self._policy.initial(replicas)
        self._decided_s: float | None = None

    @property
    def target(self) -> int:
        """Replicas asked for."""
        return self._state.target

    @property
    def targets(self) -> AutoscalingTargets:
        """Bounds and aims."""
        return self._policy.targets

    def view(self) -> ScalingView:
        """Return what gateways tell of it."""
        last = self.history.last
        signals = last.signals if last is not None else {}
        return ScalingView(
            self.target, self.targets.max_replicas, signals.get("queue_s", 0.0), signals.get("load_replicas", 0.0)
        )

    def set_targets(self, targets: AutoscalingTargets) -> None:
        """Go by other bounds and aims from the next decision on; what was learned stays."""
        self._policy = Autoscaler(targets)

    def decide(self, now_s: float) -> ScalingDecision | None:
        """Return a decision if there is news to decide on; call whenever figures came."""
        as_of_s = self.figures.as_of_s(now_s)
        if as_of_s is None or (self._decided_s is not None and as_of_s - self._decided_s < DECIDE_EVERY_S):
            return None
        self._decided_s = as_of_s
        metrics = self.figures.metrics(self._state.target, as_of_s)
        self._state, decision = self._policy.decide(self._state, metrics, as_of_s)
        self.history.add(decision)
        if decision.target != decision.previous:
            self.figures.ordered(decision.target - decision.previous, now_s)
        return decision

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.figures.check_integrity()
