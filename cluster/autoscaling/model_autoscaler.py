"""The autoscaler of one model as it runs: figures in, decisions out, the last of them kept.

The live autoscaler and the simulator drive this same object, with `Autoscaler` or any other policy.
"""

from typing import Generic

from cluster.autoscaling.decision import DecisionHistory, ScalingDecision
from cluster.autoscaling.fleet_figures import FleetFigures
from cluster.autoscaling.interface import AutoscalingPolicy, StateT
from cluster.autoscaling.scaling_view import ScalingView

DECIDE_EVERY_S = 0.05
"""Seconds between two decisions, at the least: several gateways tell at different moments."""


class ModelAutoscaler(Generic[StateT]):
    """Decides as of the last moment that all gateways have told of; while none tells, the target stays.

    Args:
        policy: decides.
        replicas: replicas there are, or that have been asked for.

    Attributes:
        figures: what gateways and replicas told.
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
        """Return what gateways tell of it; `max_replicas`: replicas that may be asked for at most."""
        last = self.history.last
        signals = last.signals if last is not None else {}
        return ScalingView(self.target, max_replicas, signals.get("queue_s", 0.0), signals.get("load_replicas", 0.0))

    def set_policy(self, policy: AutoscalingPolicy[StateT]) -> None:
        """Decide by a policy with other bounds and aims from now on; what was learned stays."""
        self._policy = policy

    def decide(self, now_s: float) -> ScalingDecision | None:
        """Return a decision if there is news to decide on; call whenever figures came."""
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
