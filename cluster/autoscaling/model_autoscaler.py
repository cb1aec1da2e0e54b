"""The autoscaler of one model as it runs: takes figures, makes decisions and keeps the last ones.

The live autoscaler and the simulator use this same object, with `Autoscaler` or any other policy.
"""

from typing import Generic

from cluster.autoscaling.decision import DecisionHistory, ScalingDecision
from cluster.autoscaling.interface import AutoscalingPolicy, StateT
from cluster.autoscaling.metrics.fleet_figures import FleetFigures
from cluster.autoscaling.scaling_view import ScalingView

DECIDE_EVERY_S = 0.05
"""Least seconds between two decisions, as several gateways report at different moments."""


class ModelAutoscaler(Generic[StateT]):
    """Decides as of the latest moment that all gateways' reports reach; while none reports, the target stays.

    Args:
        policy: the autoscaling policy.
        replicas: replicas asked for so far.

    Attributes:
        figures: the reports of gateways and replicas.
        history: the last decisions.
    """

    def __init__(self, policy: AutoscalingPolicy[StateT], replicas: int) -> None:
        self.figures = FleetFigures()
        self.history = DecisionHistory()
        self._policy = policy
        self._state = policy.initial(replicas)
        self._target = replicas
        self._decided_s: float | None = None

    @property
    def target(self) -> int:
        """Replicas asked for."""
        return self._target

    def view(self, max_replicas: int) -> ScalingView:
        """Return the state of autoscaling for the gateways' metrics.

        Args:
            max_replicas: most replicas that may be asked for.
        """
        last = self.history.last
        signals = last.signals if last is not None else {}
        return ScalingView(self.target, max_replicas, signals.get("queue_s", 0.0), signals.get("load_replicas", 0.0))

    def set_policy(self, policy: AutoscalingPolicy[StateT]) -> None:
        """Decide by another policy of the same kind from now on, with other targets; what was learned stays."""
        self._policy = policy

    def decide(self, now_s: float) -> ScalingDecision | None:
        """Return a decision, or None if there are no new figures to decide on; call whenever figures came.

        Args:
            now_s: the time, monotonic seconds.
        """
        as_of_s = self.figures.as_of_s(now_s)
        if as_of_s is None or (self._decided_s is not None and as_of_s - self._decided_s < DECIDE_EVERY_S):
            return None
        self._decided_s = as_of_s
        metrics = self.figures.metrics(self._target, as_of_s)
        self._state, decision = self._policy.decide(self._state, metrics, as_of_s)
        self._target = decision.target
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
